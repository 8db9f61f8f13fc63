// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/page_runs.h: a set of free runs of pages. Adjacent runs are merged.
//
// Invariants, checked by validate():
//   by_address_ and by_size_ hold the same runs        no two runs touch or overlap
//   total_ == sum of their sizes             starts and sizes are whole pages
// Threads: not thread-safe; the caller holds the allocator's lock. Cost: logarithmic in the number
// of runs.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory_resource>
#include <optional>
#include <set>
#include <utility>

namespace neap::memory {

struct Run {
  char* start;
  std::int64_t bytes;
};

class PageRuns {
 public:
  // `nodes`: where its nodes are, two for each run.
  explicit PageRuns(std::pmr::memory_resource* nodes = std::pmr::get_default_resource())
      : by_address_(nodes), by_size_(nodes) {}

  // REQUIRES: `run` overlaps no run of the set.
  void insert(Run run);
  // Takes `bytes` from the start of the smallest run that has them (of equal ones, the lowest
  // address). The rest of the run stays.
  std::optional<Run> take_best_fit(std::int64_t bytes);
  // Takes at most `bytes` from the end of the largest run; nullopt when the set is empty.
  std::optional<Run> take_from_largest(std::int64_t bytes);
  // Takes the first `bytes` of the run that starts at `start`. REQUIRES: that run exists and is
  // large enough.
  void take_front(char* start, std::int64_t bytes);
  // The size of the run that starts at `start`; 0 when there is none.
  [[nodiscard]] std::int64_t starting_at(char* start) const;
  // The largest of a few runs that, with the run of `other` right after it, has `bytes`.
  [[nodiscard]] std::optional<Run> largest_before(const PageRuns& other, std::int64_t bytes) const;

  [[nodiscard]] std::int64_t total() const { return total_; }
  // Throws: std::logic_error with the first equation that does not hold.
  void validate(std::int64_t page_bytes) const;

 private:
  using ByAddress = std::pmr::map<char*, std::int64_t, std::less<>>;

  void add(Run run);
  void remove(Run run);

  ByAddress by_address_;
  std::pmr::set<std::pair<std::int64_t, char*>> by_size_;
  std::int64_t total_ = 0;
};

}  // namespace neap::memory
