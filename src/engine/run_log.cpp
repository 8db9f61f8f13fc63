// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/run_log.h"

#include "base/stable_hash.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace neap::engine {
namespace {

constexpr std::size_t kMostRuns = 16;
constexpr std::size_t kMostCalls = std::size_t{1} << 20;
constexpr std::size_t kMostBudgets = 8;

// What is evicted depends on measured times, and a new process has measured little. Where the room
// is only just enough, it may need one large storage more.
std::int64_t with_margin(std::int64_t budget) { return budget + budget / 8; }

}  // namespace

bool RunLog::Run::begins_like(const Run& other) const noexcept {
  return std::abs(base - other.base) <= other.base / 64;
}

std::int64_t RunLog::Run::limit(std::int64_t too_small) const noexcept {
  const auto known = std::ranges::upper_bound(budgets, too_small);
  const std::int64_t online = known == budgets.end() ? 0 : with_margin(*known);
  if (!plain_peak || *plain_peak <= too_small) return online;
  return online == 0 ? *plain_peak : std::min(online, *plain_peak);
}

void RunLog::Run::ran_in(std::int64_t budget) {
  if (budget <= refused) return;
  const auto place = std::ranges::lower_bound(budgets, budget);
  if (place != budgets.end() && *place == budget) return;
  budgets.insert(place, budget);
  if (budgets.size() > kMostBudgets) budgets.pop_back();
}

void RunLog::start(std::int64_t base) {
  note_refusal();
  if (!parameter_ || parameter_->expired()) last_ = 0;
  parameter_.reset();
  current_.prefix.clear();  // it keeps its capacity, because the next step is about as long
  current_.base = base;
  decided_ = 0;
}

void RunLog::parameter(c10::StorageImpl& storage) {
  c10::raw::weak_intrusive_ptr::incref(&storage);
  parameter_ = c10::weak_intrusive_ptr<c10::StorageImpl>::reclaim(&storage);
}

std::optional<std::uint64_t> RunLog::call(std::uint64_t operator_hash) {
  refused_ = 0;  // a second try fitted, or the program goes on without what was refused
  std::vector<std::uint64_t>& prefix = current_.prefix;
  if (prefix.size() >= kMostCalls) return std::nullopt;
  const std::uint64_t before = (prefix.empty() ? 0 : prefix.back()) ^ std::exchange(decided_, 0);
  prefix.push_back(stable_hash(&operator_hash, sizeof operator_hash, before));
  return prefix.back();
}

void RunLog::decided(std::uint64_t what) noexcept {
  decided_ = stable_hash(&what, sizeof what, decided_);
}

bool RunLog::begins_with_current(const Run& run) const noexcept {
  const std::size_t ran = current_.prefix.size();
  return run.prefix.size() >= ran && run.prefix[ran - 1] == current_.prefix.back();
}

// What fits online is not a monotonic function of the budget. A run in a budget below one that was
// refused was luck, and a new process may not have it.
void RunLog::note_refusal() noexcept {
  const std::int64_t budget = std::exchange(refused_, 0);
  if (budget == 0 || current_.prefix.empty()) return;
  for (Run& run : known_) {
    if (begins_with_current(run) && run.begins_like(current_)) {
      run.refused = std::max(run.refused, budget);
      run.budgets.erase(run.budgets.begin(), std::ranges::upper_bound(run.budgets, run.refused));
    }
  }
}

const RunLog::Run* RunLog::find(std::uint32_t id) const {
  const auto found = std::ranges::find(known_, id, &Run::id);
  return found == known_.end() ? nullptr : &*found;
}

void RunLog::fitted_plain(std::int64_t peak) {
  const std::int64_t base = current_.base;
  Run* const run = finished(true);
  if (run == nullptr) return;
  peak += run->beyond(base);
  run->plain_peak = std::min(peak, run->plain_peak.value_or(peak));
}

void RunLog::fitted_in(std::int64_t budget) {
  const std::int64_t base = current_.base;
  Run* const run = finished(true);
  if (run != nullptr) run->ran_in(budget + run->beyond(base));
}

void RunLog::followed_plan() { finished(false); }

RunLog::Run* RunLog::finished(bool make) {
  refused_ = 0;
  if (current_.prefix.empty()) return nullptr;
  const auto found = std::ranges::find_if(known_, [this](const Run& run) {
    return run.prefix.size() == current_.prefix.size() && begins_with_current(run) &&
           run.begins_like(current_);
  });
  Run* run = found == known_.end() ? nullptr : &*found;
  if (run == nullptr) {
    if (!make) {
      last_ = 0;
      return nullptr;
    }
    if (known_.size() == kMostRuns) known_.erase(known_.begin());
    current_.id = ++ids_;
    run = &known_.emplace_back(std::exchange(current_, {}));
  }
  came_after_last(*run);
  return run;
}

void RunLog::came_after_last(Run& run) {
  const auto last = std::ranges::find(known_, std::exchange(last_, run.id), &Run::id);
  if (last == known_.end() || (run.base < last->base && !run.begins_like(*last))) return;
  if (std::ranges::find(last->next, run.id) == last->next.end()) last->next.push_back(run.id);
}

// 0: one of the runs that came after it has no budget that is known to work.
std::int64_t RunLog::largest_limit_from(const Run& run, std::int64_t too_small) const {
  std::vector<const Run*> seen{&run};
  std::int64_t largest = 0;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const std::int64_t limit = seen[i]->limit(i == 0 ? too_small : 0);
    if (limit == 0) return 0;
    largest = std::max(largest, limit);
    for (const std::uint32_t id : seen[i]->next) {
      const Run* const next = find(id);
      if (next != nullptr && std::ranges::find(seen, next) == seen.end()) seen.push_back(next);
    }
  }
  return largest;
}

// Steps of several kinds begin alike. The first step of a training makes what later steps find,
// such as an optimizer's state, and nobody knows yet whether this step will do so. So the largest
// limit counts: of the runs that began with about the same memory, or, if there are none, of all.
// If this step began with more memory than the run, the difference is added.
std::int64_t RunLog::smallest_feasible(std::int64_t budget) const {
  if (current_.prefix.empty()) return 0;  // nothing is known about the step
  std::int64_t alike = 0, any = 0;
  for (const Run& run : known_) {
    if (!begins_with_current(run)) continue;
    const std::int64_t limit = largest_limit_from(run, budget);
    if (limit == 0) continue;
    const std::int64_t feasible = limit + std::max<std::int64_t>(0, current_.base - run.base);
    any = std::max(any, feasible);
    if (run.begins_like(current_)) alike = std::max(alike, feasible);
  }
  return alike > 0 ? alike : any;
}

}  // namespace neap::engine
