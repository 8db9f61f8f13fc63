// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Plans with copies, and their bounds, against the best plan of tiny traces.
#include "graph/random_traces.h"
#include "planner/all_copies.h"
#include "planner/bounds.h"

#include <neap/planner.h>

#include <gtest/gtest.h>

#include <cstdio>
#include <optional>
#include <random>

namespace neap::planner {
namespace {

using graph::Trace;

Trace tiny(std::mt19937_64& random, int round) {
  Trace trace = graph::random_trace(random, {.operators = 3 + round % 2,
                                             .head_givens = round % 2,
                                             .late_given = 5,
                                             .mutates_made = round % 3 == 0 ? 40 : 5,
                                             .not_replayable = round % 4 == 0 ? 30 : 0,
                                             .makes_nothing = 5,
                                             .several_outputs = 10,
                                             .zero_bytes = 0,
                                             .released = 80});
  const std::int64_t most = round % 2 == 0 ? 5'000'000'000 : 1'000'000'000;
  trace.out_bytes_per_s = most / 10 + graph::below(random, most);
  trace.in_bytes_per_s = most / 10 + graph::below(random, most);
  return trace;
}

constexpr std::size_t kMostStates = 20'000;

TEST(CopiesOptimum, the_floor_is_no_more_than_the_smallest_peak_and_mostly_is_it) {
  std::mt19937_64 random(5);
  int known = 0, equal = 0;
  for (int round = 0; round < 60; ++round) {
    const Trace trace = tiny(random, round);
    const auto smallest = graph::AllCopies(trace).smallest_peak(kMostStates);
    if (!smallest) continue;
    ++known;
    const graph::Program program(trace);
    const Floor floor = memory_floor(Replays(program));
    ASSERT_LE(floor.bytes, *smallest) << round;
    equal += floor.bytes == *smallest ? 1 : 0;
    // A plan at the floor, however long it takes.
    const Solution found = solve_smallest(trace);
    ASSERT_GE(found.plan.predicted_peak, *smallest) << round;
  }
  EXPECT_GE(known, 40);
  EXPECT_GE(equal, known * 9 / 10);
}

std::optional<Solution> solution_of(const Trace& trace, std::int64_t budget) {
  try {
    return solve(trace, {.budget = Bytes(budget), .threads = 1});
  } catch (const Infeasible&) {
    return {};
  }
}

TEST(CopiesOptimum, bounds_hold_and_most_plans_are_the_best) {
  std::mt19937_64 random(6);
  int known = 0, best = 0, near = 0, bounded = 0, not_found = 0;
  for (int round = 0; round < 200; ++round) {
    const Trace trace = tiny(random, round);
    const graph::Program program(trace);
    const Floor floor = memory_floor(Replays(program));
    const std::int64_t plain = graph::plain_plan(trace).predicted_peak;
    if (plain <= floor.bytes) continue;
    const std::int64_t budget = floor.bytes + (plain - floor.bytes) * (round % 4) / 4;
    const std::optional<Solution> solution = solution_of(trace, budget);
    if (!solution) {
      ++not_found;
      continue;
    }
    const Solution& found = *solution;
    const auto least =
        graph::AllCopies(trace).least_ns(budget, found.plan.predicted_ns, kMostStates);
    if (!least) continue;
    ++known;
    const std::int64_t extra = *least - found.plain_ns;
    ASSERT_LE(found.bound_ns, extra) << round;
    ASSERT_GE(found.rerun_ns, extra) << round;
    bounded += found.bound_ns > 0 ? 1 : 0;
    best += found.rerun_ns == extra ? 1 : 0;
    near += (found.rerun_ns - extra) * 20 <= *least ? 1 : 0;  // 5 % of the step
  }
  std::printf("of %d plans, %d are the best, %d within 5 %%; %d bounds are above 0\n", known, best,
              near, bounded);
  EXPECT_GE(known, 25);
  EXPECT_LE(not_found, 20);
  EXPECT_GE(bounded, known / 6);
  EXPECT_GE(best, known * 4 / 5);
  EXPECT_GE(near, known * 9 / 10);
}

}  // namespace
}  // namespace neap::planner
