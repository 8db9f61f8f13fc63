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

}  // namespace

bool RunLog::Run::begins_like(const Run& other) const noexcept {
  return std::abs(base - other.base) <= other.base / 64;
}

void RunLog::start(std::int64_t base) {
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
  std::vector<std::uint64_t>& prefix = current_.prefix;
  if (prefix.size() >= kMostCalls) return std::nullopt;
  const std::uint64_t before = (prefix.empty() ? 0 : prefix.back()) ^ std::exchange(decided_, 0);
  prefix.push_back(stable_hash(&operator_hash, sizeof operator_hash, before));
  return prefix.back();
}

void RunLog::decided(std::uint64_t what) noexcept {
  decided_ = stable_hash(&what, sizeof what, decided_);
}

RunLog::Run* RunLog::same_as_current() {
  const auto found = std::ranges::find_if(known_, [this](const Run& run) {
    return run.prefix.size() == current_.prefix.size() &&
           run.prefix.back() == current_.prefix.back() && run.begins_like(current_);
  });
  return found == known_.end() ? nullptr : &*found;
}

const RunLog::Run* RunLog::find(std::uint32_t id) const {
  const auto found = std::ranges::find(known_, id, &Run::id);
  return found == known_.end() ? nullptr : &*found;
}

void RunLog::finished(std::optional<std::int64_t> limit) {
  if (current_.prefix.empty()) return;
  Run* run = same_as_current();
  if (run == nullptr && !limit) {
    last_ = 0;
    return;
  }
  if (run == nullptr) {
    if (known_.size() == kMostRuns) known_.erase(known_.begin());
    current_.id = ++ids_;
    current_.limit = *limit;
    run = &known_.emplace_back(std::exchange(current_, {}));
  } else if (limit && *limit < run->limit) {
    run->limit = *limit;
    run->base = current_.base;
  }
  came_after_last(*run);
}

void RunLog::came_after_last(Run& run) {
  const auto last = std::ranges::find(known_, std::exchange(last_, run.id), &Run::id);
  if (last == known_.end() || (run.base < last->base && !run.begins_like(*last))) return;
  if (std::ranges::find(last->next, run.id) == last->next.end()) last->next.push_back(run.id);
}

std::int64_t RunLog::largest_limit_from(const Run& run) const {
  std::vector<const Run*> seen{&run};
  std::int64_t largest = 0;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    largest = std::max(largest, seen[i]->limit);
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
  const std::size_t ran = current_.prefix.size();
  if (ran == 0) return 0;  // nothing is known about the step
  std::int64_t alike = 0, any = 0;
  for (const Run& run : known_) {
    if (run.prefix.size() < ran || run.prefix[ran - 1] != current_.prefix.back()) continue;
    const std::int64_t feasible =
        largest_limit_from(run) + std::max<std::int64_t>(0, current_.base - run.base);
    // This budget was enough then, and is not now: what fits online is not a monotonic function of
    // the budget.
    if (feasible <= budget) continue;
    any = std::max(any, feasible);
    if (run.begins_like(current_)) alike = std::max(alike, feasible);
  }
  return alike > 0 ? alike : any;
}

}  // namespace neap::engine
