// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/page_runs.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <stdexcept>
#include <string>

namespace neap::memory {

void PageRuns::add(Run run) {
  by_address_.emplace(run.start, run.bytes);
  by_size_.emplace(run.bytes, run.start);
  total_ += run.bytes;
}

void PageRuns::remove(Run run) {
  by_address_.erase(run.start);
  by_size_.erase({run.bytes, run.start});
  total_ -= run.bytes;
}

void PageRuns::insert(Run run) {
  const auto next = by_address_.lower_bound(run.start);
  if (next != by_address_.begin()) {
    const Run before{std::prev(next)->first, std::prev(next)->second};
    assert(before.start + before.bytes <= run.start);
    if (before.start + before.bytes == run.start) {
      remove(before);
      run = {before.start, before.bytes + run.bytes};
    }
  }
  if (const std::int64_t after = starting_at(run.start + run.bytes); after != 0) {
    remove({run.start + run.bytes, after});
    run.bytes += after;
  }
  add(run);
}

std::optional<Run> PageRuns::take_best_fit(std::int64_t bytes) {
  const auto found = by_size_.lower_bound({bytes, nullptr});
  if (found == by_size_.end()) return std::nullopt;
  const Run run{found->second, bytes};
  take_front(run.start, bytes);
  return run;
}

std::optional<Run> PageRuns::take_from_largest(std::int64_t bytes) {
  if (by_size_.empty()) return std::nullopt;
  const Run whole{by_size_.rbegin()->second, by_size_.rbegin()->first};
  remove(whole);
  const std::int64_t taken = std::min(bytes, whole.bytes);
  if (taken < whole.bytes) add({whole.start, whole.bytes - taken});
  return Run{whole.start + (whole.bytes - taken), taken};
}

void PageRuns::take_front(char* start, std::int64_t bytes) {
  const Run whole{start, starting_at(start)};
  assert(whole.bytes >= bytes);
  remove(whole);
  if (bytes < whole.bytes) add({start + bytes, whole.bytes - bytes});
}

std::int64_t PageRuns::starting_at(char* start) const {
  const auto found = by_address_.find(start);
  return found == by_address_.end() ? 0 : found->second;
}

std::optional<Run> PageRuns::largest_before(const PageRuns& other, std::int64_t bytes) const {
  // Tries only the 8 largest: a hit saves page faults, but a long search would cost more.
  int looked = 0;
  for (auto run = by_size_.rbegin(); run != by_size_.rend() && looked < 8; ++run, ++looked) {
    if (other.starting_at(run->second + run->first) >= bytes - run->first) {
      return Run{run->second, run->first};
    }
  }
  return std::nullopt;
}

void PageRuns::validate(std::int64_t page_bytes) const {
  const auto require = [](bool holds, const char* equation) {
    if (!holds) throw std::logic_error(std::string("page runs: ") + equation);
  };
  require(by_address_.size() == by_size_.size(), "both orders have as many runs");
  std::int64_t sum = 0;
  const char* end = nullptr;
  for (const auto& [start, bytes] : by_address_) {
    require(bytes > 0 && bytes % page_bytes == 0, "a run is whole pages");
    require(reinterpret_cast<std::uintptr_t>(start) % static_cast<std::uintptr_t>(page_bytes) == 0,
            "a run starts on a page");
    require(end == nullptr || end < start, "runs neither touch nor overlap");
    require(by_size_.contains({bytes, start}), "both orders have the same runs");
    end = start + bytes;
    sum += bytes;
  }
  require(sum == total_, "total is the sum of the sizes");
}

}  // namespace neap::memory
