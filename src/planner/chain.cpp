// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/chain.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace neap::planner {
namespace {

// Sums of ns are integers far below 2^53, so doubles hold them exactly. Unlike for 64-bit integers,
// any processor has a vector minimum for doubles.
constexpr double kNoWay = std::numeric_limits<double>::infinity();

template <class Visit>
void for_each_size(const std::vector<ChainStage>& chain, Visit visit) {
  for (const ChainStage& stage : chain) {
    for (const std::int64_t size : {stage.output, stage.forward, stage.gradient}) visit(size);
    for (const std::int64_t size : stage.shared) visit(size);
    for (const ChainOption& option : stage.options) {
      for (const std::int64_t size : {option.kept, option.forward, option.backward, option.again}) {
        visit(size);
      }
    }
  }
}

std::int64_t slot_size(const std::vector<ChainStage>& chain, std::int64_t budget,
                       std::int64_t slots) {
  std::int64_t divisor = 0;
  for_each_size(chain, [&](std::int64_t size) { divisor = std::gcd(divisor, size); });
  if (divisor == 0) return std::max<std::int64_t>(budget, 1);
  if (budget / divisor <= slots) return divisor;
  // Rounding accumulates where several things are kept at once.
  std::int64_t best = 0;
  std::int64_t least_waste = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t count = slots; count > slots / 2; --count) {
    const std::int64_t slot = budget / count + 1;
    std::int64_t waste = 0;
    const auto look = [&](std::int64_t size) { waste += (slot - size % slot) % slot; };
    for (const ChainStage& stage : chain) {
      look(stage.output);
      for (const ChainOption& option : stage.options) look(option.kept);
    }
    if (waste >= least_waste) continue;
    least_waste = waste;
    best = slot;
  }
  return best;
}

// Hot: the inner loop of the dynamic program.
void relax(double* best, const double* right, const double* left, std::size_t count, double ns) {
  for (std::size_t i = 0; i < count; ++i) {
    const double sum = ns + right[i] + left[i];
    best[i] = sum < best[i] ? sum : best[i];
  }
}

}  // namespace

ChainTable::ChainTable(const std::vector<ChainStage>& chain, std::int64_t budget,
                       std::int64_t slots)
    : chain_(chain), slot_(slot_size(chain, std::max<std::int64_t>(budget, 0), slots)) {
  width_ = static_cast<Size>(std::max<std::int64_t>(budget, 0) / slot_) + 1;
  rows_.assign(chain.size() * (chain.size() + 1) / 2 * width_, kNoWay);
  for (Size length = 0; length < chain.size(); ++length) {
    for (Size first = 0; first + length < chain.size(); ++first) fill(first, first + length);
  }
}

ChainTable::Saving ChainTable::saving(Size first, Size last, const ChainOption& option) const {
  const ChainStage& stage = chain_[first];
  // It is left of a cut, so it ran before.
  if (first == last && last + 1 < chain_.size()) {
    return {slots_of(stage.gradient + option.again), 0, static_cast<double>(option.again_ns)};
  }
  const std::int64_t forward = gradient(last) + option.kept + option.forward;
  const std::int64_t backward = stage.gradient + option.kept + option.backward;
  return {slots_of(std::max(forward, backward)), slots_of(option.kept),
          static_cast<double>(stage.ns + option.backward_ns)};
}

template <class Visit>
void ChainTable::for_each_cut(Size first, Size last, Visit visit) const {
  double ns = 0;
  std::int64_t most = 0;
  for (Size at = first + 1; at <= last; ++at) {
    ns += static_cast<double>(chain_[at - 1].ns);
    most = std::max(most, gradient(last) + forward(first, at - 1));
    const Size kept = slots_of(more(first, at));
    if (visit(Cut{at, kept, std::max(slots_of(most), kept), ns})) return;
  }
}

void ChainTable::fill(Size first, Size last) {
  double* const best = row(first, last);
  for (const ChainOption& option : chain_[first].options) {
    const Saving one = saving(first, last, option);
    if (first == last) {
      for (Size free = one.least; free < width_; ++free) best[free] = std::min(best[free], one.ns);
      continue;
    }
    const double* const after = row(first + 1, last);
    for (Size free = one.least; free < width_; ++free) {
      best[free] = std::min(best[free], one.ns + after[free - one.kept]);
    }
  }
  // Or run to value `cut`, keep it, and return to the stages before it later.
  for_each_cut(first, last, [&](const Cut& cut) {
    if (cut.least >= width_) return true;  // and so are all later ones
    relax(best + cut.least, row(cut.at, last) + (cut.least - cut.kept),
          row(first, cut.at - 1) + cut.least, width_ - cut.least, cut.ns);
    return false;
  });
}

// Repeats the choices of fill(): the sums are exact, so they compare equal.
void ChainTable::append(Size first, Size last, Size free, std::vector<ChainStep>& steps) const {
  using Action = ChainStep::Action;
  const auto step = [&](Action action, Size stage, Size option = 0) {
    steps.push_back({action, static_cast<Index>(stage), static_cast<Index>(option)});
  };
  const double best = row(first, last)[free];
  const auto& options = chain_[first].options;
  for (Size i = 0; i < options.size(); ++i) {
    const Saving one = saving(first, last, options[i]);
    if (free < one.least) continue;
    const double rest = first == last ? 0 : row(first + 1, last)[free - one.kept];
    if (one.ns + rest != best) continue;
    step(Action::ForwardSaving, first, i);
    if (first < last) append(first + 1, last, free - one.kept, steps);
    step(Action::Backward, first);
    return;
  }
  for_each_cut(first, last, [&](const Cut& cut) {
    if (free < cut.least) return false;
    if (cut.ns + row(cut.at, last)[free - cut.kept] + row(first, cut.at - 1)[free] != best) {
      return false;
    }
    step(Action::ForwardFromKept, first);
    for (Size i = first + 1; i < cut.at; ++i) step(Action::Forward, i);
    append(cut.at, last, free - cut.kept, steps);
    append(first, cut.at - 1, free, steps);
    return true;
  });
}

std::optional<ChainSchedule> ChainTable::solve(std::int64_t budget) const {
  if (budget < 0) return {};
  if (chain_.empty()) return ChainSchedule{};
  const Size free = std::min(width_ - 1, static_cast<Size>(budget / slot_));
  const double ns = row(0, chain_.size() - 1)[free];
  if (ns == kNoWay) return {};
  ChainSchedule schedule{.ns = static_cast<std::int64_t>(ns)};
  append(0, chain_.size() - 1, free, schedule.steps);
  return schedule;
}

}  // namespace neap::planner
