// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// walk(): its reruns form a schedule inside the budget of the walk.
#include "planner/walk.h"

#include "graph/random_traces.h"
#include "planner/emit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace neap::planner {
namespace {

bool none_twice(std::vector<GroupRerun> reruns) {
  std::ranges::sort(reruns, {}, [](GroupRerun one) { return std::pair(one.stage, one.group); });
  return std::ranges::adjacent_find(reruns) == reruns.end();
}

void check_walks(bool returns, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  int ended = 0, ran_again = 0;
  for (int round = 0; round < 400; ++round) {
    const graph::Trace trace = graph::random_trace(random, {.operators = 4 + round % 40});
    const Program program(trace);
    const Replays replays(program);
    const std::int64_t plain = Schedule(replays).peak();
    for (const int percent : {95, 80, 65, 50}) {
      const std::int64_t budget = plain * percent / 100;
      for (const Rule rule : {Rule::DtrEq, Rule::NextUse, Rule::NextUseEq}) {
        const auto reruns = walk(replays, budget, rule, seed, returns);
        if (!reruns) continue;
        ++ended;
        ran_again += reruns->empty() ? 0 : 1;
        ASSERT_TRUE(none_twice(*reruns)) << "round " << round << ", " << percent << " %";
        Schedule schedule(replays);
        for (const GroupRerun one : *reruns) schedule.add(one);
        schedule.validate();
        // A schedule runs the reruns of a stage in the order of operators. A walk may have run some
        // of them in another order.
        if (!returns) {
          ASSERT_LE(schedule.peak(), budget) << "round " << round << ", " << percent << " %";
        }
        ASSERT_NO_THROW(graph::verify(trace, emit(schedule, schedule.peak()))) << "round " << round;
      }
    }
  }
  EXPECT_GT(ended, 400);
  EXPECT_GT(ran_again, 200);
}

TEST(Walk, says_what_a_schedule_inside_its_budget_runs_again) { check_walks(false, 1); }

TEST(Walk, says_so_too_where_contents_come_back_before_they_are_overwritten) {
  check_walks(true, 2);
}

}  // namespace
}  // namespace neap::planner
