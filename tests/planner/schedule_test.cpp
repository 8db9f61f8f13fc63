// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a schedule says of memory and time is what the simulator counts for the plan made from it,
// for any set of reruns.
#include "graph/random_traces.h"
#include "planner/emit.h"
#include "planner/local_search.h"

#include <gtest/gtest.h>

#include <random>

namespace neap::planner {
namespace {

graph::Trace any_trace(std::mt19937_64& random, std::int64_t operators) {
  return graph::random_trace(random, {.operators = operators});
}

// Adds and removes reruns at random, so that the schedule has been through more changes than it
// holds reruns.
void disturb(Schedule& schedule, std::mt19937_64& random, int changes) {
  const Replays& replays = schedule.replays();
  for (int i = 0; i < changes; ++i) {
    const GroupRerun rerun{
        static_cast<Index>(random() % static_cast<std::uint64_t>(replays.groups())),
        static_cast<Index>(random() % static_cast<std::uint64_t>(schedule.stages()))};
    if (schedule.has(rerun)) {
      if (schedule.may_remove(rerun)) schedule.remove(rerun);
    } else {
      for (const GroupRerun one : schedule.closure(rerun)) schedule.add(one);
    }
  }
}

TEST(Schedule, says_of_any_set_of_reruns_what_the_simulator_counts) {
  std::mt19937_64 random(1);
  std::int64_t reruns = 0;
  std::int64_t older = 0;
  for (int round = 0; round < 3000; ++round) {
    const graph::Trace trace = any_trace(random, 4 + round % 30);
    const Program program(trace);
    const Replays replays(program);
    Schedule schedule(replays);
    disturb(schedule, random, round % 60);
    schedule.validate();
    const graph::Plan plan = emit(schedule, schedule.peak());
    ASSERT_NO_THROW(graph::verify(trace, plan)) << "round " << round;
    reruns += graph::simulate(trace, plan).reruns;
    for (const GroupRerun one : schedule.reruns()) {
      std::vector<Index> needed;
      replays.overwritten_needs(one.group, one.stage, needed);
      older += static_cast<std::int64_t>(needed.size());
    }
  }
  EXPECT_GT(reruns, 10000);
  EXPECT_GT(older, 100) << "readers of overwritten contents were among them";
}

TEST(Schedule, comes_back_to_where_it_was_when_its_changes_are_undone) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 200; ++round) {
    const graph::Trace trace = any_trace(random, 20);
    const Program program(trace);
    const Replays replays(program);
    Schedule schedule(replays);
    const std::int64_t plain = schedule.peak();
    disturb(schedule, random, 40);
    for (const GroupRerun one : schedule.reruns()) schedule.remove(one);
    EXPECT_EQ(schedule.peak(), plain);
    EXPECT_EQ(schedule.cost(), 0);
    EXPECT_EQ(schedule.size(), 0U);
    schedule.validate();
  }
}

TEST(LocalSearch, ends_inside_the_budget_with_a_plan_that_the_simulator_takes) {
  std::mt19937_64 random(3);
  int fitted = 0;
  for (int round = 0; round < 1000; ++round) {
    const graph::Trace trace = any_trace(random, 10 + round % 40);
    const Program program(trace);
    const Replays replays(program);
    Schedule schedule(replays);
    const std::int64_t plain = schedule.peak();
    const std::int64_t budget = plain * (60 + round % 40) / 100;
    LocalSearch search(schedule, budget, 1);
    if (!search.fit()) continue;
    ++fitted;
    ASSERT_NO_THROW(graph::verify(trace, emit(schedule, budget))) << "round " << round;
    const std::int64_t first = schedule.cost();
    search.tidy();
    EXPECT_LE(schedule.cost(), first);
    const std::int64_t tidied = schedule.cost();
    search.improve(50);
    EXPECT_LE(schedule.cost(), tidied);
    schedule.validate();
    ASSERT_NO_THROW(graph::verify(trace, emit(schedule, budget))) << "round " << round;
  }
  EXPECT_GT(fitted, 300);
}

}  // namespace
}  // namespace neap::planner
