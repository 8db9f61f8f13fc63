// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/portfolio.h: where local search starts from. Each start is a plan by itself, by a method of the literature or ours.
#pragma once

#include "planner/deadline.h"
#include "planner/schedule.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace neap::planner {

// What a plan is asked for. The same problem gives the same plan, but for what the deadline cuts short.
struct Problem {
  const graph::Trace& trace;
  const Replays& replays;  // of the trace
  std::int64_t budget;
  std::uint64_t seed;
  Deadline deadline;
};

struct Method {
  std::string_view name;
  // Above so many operators it takes too long.
  Index most_operators;
  // Those that search end at the deadline, with a plan if they have one by then.
  std::optional<std::vector<Rerun>> (*find)(const Problem& problem);
  bool for_outlived = false;  // of use only where Replays::outlived()
};

std::span<const Method> portfolio();

// A plan of so many times the reruns of the best one is not searched on: with thousands of reruns too many, only to take them
// away would take longer than all the rest.
inline constexpr std::int64_t kMostTimesBest = 4;

}  // namespace neap::planner
