// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Every set of reruns and loads is a plan, inside the schedule's peak or any budget above it, and
// takes the time that the search was told.
#include "planner/transfers.h"

#include "graph/random_traces.h"
#include "planner/emit.h"
#include "planner/local_search.h"
#include "planner/offload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace neap::planner {
namespace {

using graph::Given;
using graph::Operator;
using graph::Release;
using graph::Step;
using graph::Trace;
using Action = Step::Action;

Trace any_trace(std::mt19937_64& random, std::int64_t operators) {
  Trace trace = graph::random_trace(random, {.operators = operators});
  trace.out_bytes_per_s = 1 + graph::below(random, 6'000'000'000);
  trace.in_bytes_per_s = 1 + graph::below(random, 6'000'000'000);
  return trace;
}

Index any_below(std::mt19937_64& random, Index end) {
  return static_cast<Index>(graph::below(random, end));
}

// Adds and removes reruns and loads at random.
void disturb(Schedule& schedule, std::mt19937_64& random, int changes) {
  const Replays& replays = schedule.replays();
  for (int i = 0; i < changes; ++i) {
    const Index stage = any_below(random, schedule.stages());
    if (graph::chance(random, 50)) {
      const GroupRerun rerun{any_below(random, replays.groups()), stage};
      if (schedule.has(rerun)) {
        if (schedule.may_remove(rerun)) schedule.remove(rerun);
      } else {
        for (const GroupRerun one : schedule.closure(rerun)) schedule.add(one);
      }
      continue;
    }
    const Load load{any_below(random, schedule.program().storages()), stage};
    if (schedule.has(load)) {
      schedule.remove(load);
    } else if (schedule.may_load(load)) {
      schedule.add(load);
    }
  }
}

TEST(Transfers, of_any_set_of_reruns_and_loads_are_a_plan_that_takes_the_time_that_is_said) {
  std::mt19937_64 random(1);
  int with_loads = 0, with_waits = 0, late_frees = 0;
  for (int round = 0; round < 4000; ++round) {
    const Trace trace = any_trace(random, 4 + round % 30);
    const Program program(trace);
    const Replays replays(program);
    Schedule schedule(replays);
    disturb(schedule, random, round % 60);
    schedule.validate();
    const std::int64_t peak = schedule.peak();
    const std::int64_t budget = peak + graph::below(random, 3) * graph::below(random, 200);
    const graph::Plan plan = emit(schedule, budget);
    ASSERT_NO_THROW(graph::verify(trace, plan)) << "round " << round;
    const graph::Outcome outcome = graph::simulate(trace, plan);
    Transfers transfers(program);
    transfers.place(schedule, budget);
    ASSERT_EQ(outcome.waited_ns, transfers.waited()) << "round " << round;
    ASSERT_EQ(outcome.offloaded_peak, transfers.most_offloaded()) << "round " << round;
    // With no room, nothing is early or late.
    const graph::Plan least = emit(schedule, peak);
    ASSERT_LE(graph::simulate(trace, least).peak, peak) << "round " << round;
    late_frees += least.steps != plan.steps ? 1 : 0;
    with_loads += outcome.offloaded_peak > 0 ? 1 : 0;
    with_waits += outcome.waited_ns > 0 ? 1 : 0;
  }
  EXPECT_GT(with_loads, 2000);
  EXPECT_GT(with_waits, 1000);
  EXPECT_GT(late_frees, 200);
}

TEST(Transfers, come_back_to_where_they_were_when_changes_are_undone) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 200; ++round) {
    const Trace trace = any_trace(random, 20);
    const Program program(trace);
    const Replays replays(program);
    Schedule schedule(replays);
    schedule.set_copy_price(0.5);
    const std::int64_t plain = schedule.peak();
    disturb(schedule, random, 60);
    for (const GroupRerun one : schedule.reruns()) schedule.remove(one);
    for (const Load one : schedule.loads()) schedule.remove(one);
    EXPECT_EQ(schedule.peak(), plain);
    EXPECT_EQ(schedule.cost(), 0);
    EXPECT_EQ(schedule.load_count(), 0U);
    schedule.validate();
  }
}

// a makes 1, which d reads; b and c take 100 ns each, and c needs 60 bytes. Copies take 50 ns each
// way.
Trace one_idle() {
  return {.events = {Operator{.name = "a", .makes = {{1, 50}}, .ns = 10},
                     Operator{.name = "b", .ns = 100},
                     Operator{.name = "c", .ns = 100, .workspace = 60},
                     Operator{.name = "b2", .ns = 100},
                     Operator{.name = "d", .reads = {1}, .ns = 10}, Release{1}},
          .out_bytes_per_s = 1'000'000'000,
          .in_bytes_per_s = 1'000'000'000};
}

TEST(Transfers, begin_a_load_as_late_as_hides_it_and_hold_what_is_not_copied_yet) {
  const Trace trace = one_idle();
  const Program program(trace);
  const Replays replays(program);
  Schedule schedule(replays);
  EXPECT_EQ(schedule.peak(), 110);
  schedule.add(Load{0, 4});
  EXPECT_EQ(schedule.peak(), 60);
  // Behind a the copy out begins; 1 stays while b runs, since there is room, and is back for d.
  const graph::Plan plan = emit(schedule, 60);
  EXPECT_EQ(plan.steps, (std::vector<Step>{{Action::Run, 0},
                                           {Action::Offload, 1},
                                           {Action::Run, 1},
                                           {Action::Free, 1},
                                           {Action::Run, 2},
                                           {Action::Load, 1},
                                           {Action::Run, 3},
                                           {Action::Run, 4},
                                           {Action::Free, 1}}));
  EXPECT_EQ(plan.predicted_ns, 320);
  EXPECT_EQ(plan.predicted_peak, 60);
  EXPECT_EQ(plan.predicted_offloaded, 50);
}

TEST(Transfers, wait_where_there_is_no_room) {
  Trace trace = one_idle();
  for (const std::size_t event : {1, 3}) std::get<Operator>(trace.events[event]).workspace = 60;
  const Program program(trace);
  const Replays replays(program);
  Schedule schedule(replays);
  schedule.add(Load{0, 4});
  EXPECT_EQ(emit(schedule, 60).predicted_ns, 320 + 100);
  EXPECT_EQ(emit(schedule, 110).predicted_ns, 320);
}

TEST(OffloadIdle, fits_any_budget_that_each_operator_fits_for_itself) {
  std::mt19937_64 random(3);
  int moved = 0;
  for (int round = 0; round < 500; ++round) {
    const Trace trace = any_trace(random, 4 + round % 40);
    const Program program(trace);
    const Replays replays(program);
    Schedule schedule(replays);
    std::int64_t floor = schedule.program().head_bytes();
    std::int64_t end = 0;
    for (Index storage = 0; storage < program.storages(); ++storage) {
      const Program::Storage& one = program.storage(storage);
      if (one.keep || (one.given && one.released == graph::kNever)) end += one.bytes;
    }
    floor = std::max(floor, end);
    for (Index op = 0; op < program.operators(); ++op) {
      std::int64_t bytes = program.op(op).makes_bytes, arriving = 0;
      for (const graph::Content& one : program.needs(op)) {
        bytes += program.storage(one.storage).bytes;
      }
      for (const Index one : program.mutates_once(op)) bytes += program.storage(one).bytes;
      for (Index one = 0; one < program.storages(); ++one) {
        // What is not used any more and waits for its release is loaded for it.
        const bool used = std::ranges::binary_search(program.users(one), op) ||
                          std::ranges::binary_search(program.writers(one), op);
        if (program.storage(one).given && program.storage(one).released == op && !used &&
            program.storage(one).arrival < op) {
          bytes += program.storage(one).bytes;
        }
      }
      for (const Index one : program.arrivals(op)) arriving += program.storage(one).bytes;
      floor = std::max(floor, bytes + std::max(arriving, program.op(op).workspace));
    }
    ASSERT_TRUE(offload_idle(schedule, floor, Transfers::kNoLimit)) << round;
    ASSERT_LE(schedule.peak(), floor) << round;
    schedule.validate();
    ASSERT_NO_THROW(graph::verify(trace, emit(schedule, floor))) << round;
    moved += schedule.load_count() > 0 ? 1 : 0;
  }
  EXPECT_GT(moved, 250);
}

TEST(LocalSearch, over_both_ways_back_stays_inside_the_budget_and_gets_no_slower) {
  std::mt19937_64 random(4);
  int fitted = 0, faster = 0;
  for (int round = 0; round < 400; ++round) {
    const Trace trace = any_trace(random, 10 + round % 40);
    const Program program(trace);
    const Replays replays(program);
    Schedule schedule(replays);
    schedule.set_copy_price(0.3);
    const std::int64_t budget = schedule.peak() * (60 + round % 40) / 100;
    LocalSearch search(schedule, budget, 1, {}, Tier{budget});
    if (!search.fit()) continue;
    ++fitted;
    const std::int64_t first = search.total();
    search.tidy();
    const std::int64_t tidied = search.total();
    EXPECT_LE(tidied, first) << round;
    search.improve(100);
    schedule.validate();
    EXPECT_LE(search.total(), tidied) << round;
    faster += search.total() < first ? 1 : 0;
    const graph::Plan plan = emit(schedule, budget);
    ASSERT_NO_THROW(graph::verify(trace, plan)) << round;
  }
  EXPECT_GT(fitted, 300);
  EXPECT_GT(faster, 100);
}

}  // namespace
}  // namespace neap::planner
