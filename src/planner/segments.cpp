// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/segments.h"

#include "planner/blocks.h"
#include "planner/trial.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace neap::planner {
namespace {

using Action = ChainStep::Action;

// The first `again` blocks run twice: in the forward, to make what crosses to the next, and when
// their backward begins.
std::vector<ChainStep> twice(Index blocks, Index again) {
  std::vector<ChainStep> steps;
  steps.reserve(3 * static_cast<std::size_t>(blocks));
  for (Index i = 0; i < blocks; ++i) {
    steps.push_back({i < again ? Action::ForwardFromKept : Action::ForwardSaving, i});
  }
  for (Index i = blocks; i-- > 0;) {
    if (i < again) steps.push_back({Action::ForwardSaving, i});
    steps.push_back({Action::Backward, i});
  }
  return steps;
}

}  // namespace

std::optional<std::vector<GroupRerun>> chen(const graph::Trace& trace, const Replays& replays,
                                            std::int64_t budget) {
  const std::vector<Pass> passes = passes_of(trace, replays);
  Trial trial(replays, budget);
  if (trial.take({})) return std::move(trial).best();
  using Cut = std::vector<Blocks>;  // of each pass
  // Reruns all blocks but the last `kept` 64ths.
  const auto take = [&](const Cut& cut, Index kept) {
    Restoration restoration(replays);
    for (const Blocks& blocks : cut) {
      const Index again = std::max(blocks.size() - 1 - blocks.size() * kept / 64, 0);
      blocks.append(twice(blocks.size(), again), restoration);
    }
    return trial.take(restoration.reruns());
  };
  std::optional<Cut> best;
  std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
  for (const double parts : {0.0, 2.0, 3.0, 5.0, 8.0, 16.0, 32.0, 64.0}) {
    Cut cut;
    for (const Pass& pass : passes) {
      const std::int64_t bytes = pass.saved_bytes();
      const auto all = pass.cuts({bytes / 3, bytes / 3, 4096, true}).size();
      const double root = std::sqrt(static_cast<double>(all));
      const auto most = static_cast<std::size_t>(std::max(1.0, parts > 0 ? parts - 1 : root));
      cut.emplace_back(replays, pass, pass.cuts({bytes / 3, bytes, most, true}), bytes / 3,
                       Blocks::Choice{2, false});
    }
    take(cut, 0);
    const std::int64_t peak = trial.schedule().peak();
    if (peak >= lowest) continue;
    lowest = peak;
    best = std::move(cut);
  }
  if (lowest > budget) return {};
  Index fits = 0;
  for (Index bit = 32; bit > 0; bit /= 2) {
    if (take(*best, fits + bit)) fits += bit;
  }
  return std::move(trial).best();
}

std::optional<std::vector<GroupRerun>> knapsack(const graph::Trace& trace, const Replays& replays,
                                                std::int64_t budget) {
  constexpr std::size_t kLevels = 129;
  const std::vector<Pass> passes = passes_of(trace, replays);
  Trial trial(replays, budget);
  if (trial.take({})) return std::move(trial).best();
  std::vector<Blocks> wholes;
  Index most = 0;
  for (const Pass& pass : passes) {
    wholes.emplace_back(replays, pass, std::vector<Index>{}, pass.saved_bytes(),
                        Blocks::Choice{kLevels, false});
    most = std::max(most, wholes.back().options(0));
  }
  const auto take = [&](Index option) {
    Restoration restoration(replays);
    for (const Blocks& whole : wholes) {
      const Index own = std::min(option, whole.options(0) - 1);
      whole.append({{Action::ForwardSaving, 0, own}, {Action::Backward, 0}}, restoration);
    }
    return trial.take(restoration.reruns());
  };
  // Finds the first option that fits. Each keeps less than the one before. An option that keeps too
  // little restores everything at the turn.
  const Index last = most - 1;
  const Index stride = std::max(last / 16, 1);
  Index low = 0;
  Index high = std::min(stride, last);
  while (low < last && !take(high)) {
    low = high;
    high = std::min(high + stride, last);
  }
  while (high - low > 1) {
    const Index middle = low + (high - low) / 2;
    (take(middle) ? high : low) = middle;
  }
  return std::move(trial).best();
}

}  // namespace neap::planner
