// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/portfolio.h: the starts of local search. Each start is a plan by itself, from a method of
// the literature or ours.
#pragma once

#include "planner/deadline.h"
#include "planner/schedule.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace neap::planner {

// Equal problems give equal plans, unless the deadline interrupts.
struct Problem {
  const graph::Trace& trace;
  const Replays& replays;  // of the trace
  std::int64_t budget;
  std::uint64_t seed;
  Deadline deadline;
};

struct Method {
  std::string_view name;
  // With more operators it takes too long.
  Index most_operators;
  // Methods that search end at the deadline, and return a plan if they have one by then.
  std::optional<std::vector<GroupRerun>> (*find)(const Problem& problem);
  bool for_outlived = false;  // useful only if Replays::outlived()
  bool is_quick = false;      // goes through the step once, or a few times
};

std::span<const Method> portfolio();

// Plans with more than this multiple of the best plan's reruns are dropped: to remove thousands of
// surplus reruns would take longer than all the rest.
inline constexpr std::int64_t kMostTimesBest = 4;

}  // namespace neap::planner
