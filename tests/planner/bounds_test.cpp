// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A bound that is too large condemns good budgets and good plans, and nothing else would show it.
// So it is compared with every plan that any method finds. On tiny traces it is compared with the
// best plan, found by trying everything that the rules allow.
#include "planner/bounds.h"

#include "bench/traces/generators.h"
#include "graph/random_plans.h"
#include "graph/random_traces.h"
#include "planner/all_plans.h"
#include "planner/emit.h"
#include "planner/local_search.h"
#include "planner/walk.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

namespace neap::planner {
namespace {

using graph::AllPlans;
using graph::Given;
using graph::kNoPlan;
using graph::Operator;
using graph::Release;
using graph::StorageId;
using graph::Trace;

std::int64_t reruns_ns(const Trace& trace, const graph::Plan& plan) {
  return graph::simulate(trace, plan).ns - graph::plain_plan(trace).predicted_ns;
}

TEST(Bounds, never_pass_the_best_plan_of_a_tiny_trace_and_are_it_more_often_than_not) {
  std::mt19937_64 random(1);
  int traces = 0, exact_floors = 0, budgets = 0, exact_bounds = 0;
  double shares = 0;
  for (int round = 0; round < 1000; ++round) {
    const Trace trace = graph::tiny_trace(random, round);
    AllPlans all(trace);
    if (!all.is_tiny()) continue;
    ++traces;
    const Program program(trace);
    const Replays replays(program);
    const std::int64_t smallest = all.smallest_peak();
    ASSERT_EQ(graph::simulate(trace, all.plan()).peak, smallest);
    const std::int64_t floor = memory_floor(replays).bytes;
    ASSERT_LE(floor, smallest) << "round " << round;
    exact_floors += floor == smallest ? 1 : 0;
    const std::int64_t over = graph::plain_plan(trace).predicted_peak - smallest;
    for (int part = 0; part < 4; ++part) {
      const std::int64_t budget = smallest + over * part / 4;
      const std::int64_t least = all.least_ns(budget);
      ASSERT_EQ(reruns_ns(trace, all.plan()), least);
      ASSERT_LE(graph::simulate(trace, all.plan()).peak, budget);
      const std::int64_t bound = recompute_bound(replays, budget);
      ASSERT_LE(bound, least) << "round " << round << ", budget " << budget;
      if (least == 0) continue;
      ++budgets;
      exact_bounds += bound == least ? 1 : 0;
      shares += static_cast<double>(bound) / static_cast<double>(least);
    }
  }
  // Weaker bounds would be valid too. These counts show that ours are tight.
  EXPECT_GT(exact_floors, traces * 9 / 10);
  EXPECT_GT(exact_bounds, budgets * 3 / 4);
  EXPECT_GT(shares, budgets * 0.85);
}

// Compares the bounds with plans, each at its own peak.
class Holds {
 public:
  explicit Holds(const Trace& trace)
      : trace_(trace), program_(trace), replays_(program_), floor_(memory_floor(replays_)) {}

  void against(const graph::Plan& plan) {
    const std::int64_t peak = graph::simulate(trace_, plan).peak;
    EXPECT_LE(floor_.bytes, peak);
    const std::int64_t bound = recompute_bound(replays_, peak);
    EXPECT_LE(bound, reruns_ns(trace_, plan));
    tight_ += bound > 0 ? 1 : 0;
  }

  // Compares with what the rules and the search find in a budget at this share, in percent, of the
  // way from the floor to the plain peak.
  void against_searches(std::int64_t percent) {
    const std::int64_t plain = graph::plain_plan(trace_).predicted_peak;
    const std::int64_t budget = floor_.bytes + (plain - floor_.bytes) * percent / 100;
    for (const Rule rule : {Rule::DtrEq, Rule::NextUse, Rule::NextUseEq}) {
      const auto reruns = walk(replays_, budget, rule, 1);
      if (!reruns) continue;
      Schedule schedule(replays_);
      for (const GroupRerun one : *reruns) schedule.add(one);
      against(emit(schedule, budget));
    }
    Schedule schedule(replays_);
    LocalSearch search(schedule, budget, 1);
    if (!search.fit()) return;
    against(emit(schedule, budget));
    search.tidy();
    search.improve(20);
    against(emit(schedule, budget));
  }

  [[nodiscard]] int tight() const { return tight_; }

 private:
  const Trace& trace_;
  Program program_;
  Replays replays_;
  Floor floor_;
  int tight_ = 0;
};

TEST(Bounds, hold_for_every_plan_that_is_found_for_a_random_trace) {
  std::mt19937_64 random(2);
  int tight = 0;
  for (int round = 0; round < 2000 && !testing::Test::HasFailure(); ++round) {
    SCOPED_TRACE(round);
    const Trace trace = graph::random_trace(
        random, {.operators = 4 + round % 20, .not_replayable = round % 3 == 0 ? 6 : 0});
    Holds holds(trace);
    holds.against(graph::plain_plan(trace));
    holds.against(graph::random_plan(random, trace));
    holds.against_searches(20 + round % 70);
    tight += holds.tight();
  }
  EXPECT_GT(tight, 2000) << "where the bound is 0 nothing is tested";
}

TEST(Bounds, hold_for_every_plan_that_is_found_for_a_training_step) {
  for (const std::string_view family : bench::families()) {
    SCOPED_TRACE(family);
    const Trace trace = bench::make_trace(family, 100, 1);
    Holds holds(trace);
    holds.against(graph::plain_plan(trace));
    for (const std::int64_t percent : {80, 60, 40, 20, 10}) holds.against_searches(percent);
    EXPECT_GT(holds.tight(), 1);
  }
}

// The expected values are counted by hand, and are those of the best plan.
void expect_floor(std::int64_t bytes, Index op, const Trace& trace) {
  const Program program(trace);
  const Floor floor = memory_floor(Replays(program));
  EXPECT_EQ(floor.bytes, bytes);
  EXPECT_EQ(floor.op, op);
  EXPECT_EQ(AllPlans(trace).smallest_peak(), bytes);
}

// `least` is the true minimum, where it exceeds the bound: the bound assumes that a part of a
// storage can be freed.
void expect_bound(std::int64_t ns, std::int64_t budget, const Trace& trace,
                  std::optional<std::int64_t> least = {}) {
  const Program program(trace);
  EXPECT_EQ(recompute_bound(Replays(program), budget), ns) << "of budget " << budget;
  EXPECT_EQ(AllPlans(trace).least_ns(budget), least.value_or(ns)) << "of budget " << budget;
}

TEST(MemoryFloor, counts_what_an_operator_takes_and_what_is_given) {
  const Given parameter{.storage = 0, .bytes = 100};
  const Operator first{.reads = {0}, .makes = {{1, 40}}, .workspace = 5};
  expect_floor(145, 0, {{parameter, first}});
  const Operator second{.reads = {1}, .makes = {{2, 20}}, .workspace = 7};
  expect_floor(100 + 40 + 20 + 7, 1, {{parameter, first, second}});
  expect_floor(100 + 40 + 30, 0,
               {{parameter, first, Given{.storage = 3, .bytes = 30}, Release{3}}});
  const Given large{.storage = 4, .bytes = 300};
  expect_floor(400, kNone, {{parameter, large, Release{4}, first}});
  expect_floor(100 + 40 + 20, 2,
               {.events = {parameter, first, Operator{.makes = {{2, 20}}}}, .keep = {1, 2}});
}

// The last operator needs storage 1, of 30 bytes, which is held while another operator makes 60.
Trace held_over(Operator maker, std::vector<graph::Event> between) {
  Trace trace{{Given{.storage = 0, .bytes = 40}, std::move(maker)}};
  trace.events.insert(trace.events.end(), between.begin(), between.end());
  trace.events.insert(trace.events.end(),
                      {Operator{.makes = {{2, 60}}}, Release{2}, Operator{.reads = {1}}});
  return trace;
}

TEST(MemoryFloor, counts_what_is_needed_later_and_cannot_be_made_again) {
  const Operator maker{.reads = {0}, .makes = {{1, 30}}};
  const Operator once{.reads = {0}, .makes = {{1, 30}}, .replayable = false};
  expect_floor(40 + 60, 1, held_over(maker, {}));
  expect_floor(40 + 60 + 30, 1, held_over(once, {}));
  expect_floor(40 + 60 + 30, 2, held_over(maker, {Operator{.mutates = {0}}}));
  expect_floor(40 + 60 + 30, 2, held_over(maker, {Operator{.mutates = {1}, .replayable = false}}));
  // Here another result of the maker cannot be made again, but nothing needs that result.
  const Operator both{.reads = {0}, .makes = {{1, 30}, {3, 1}}};
  expect_floor(40 + 60, 2, held_over(both, {Operator{.mutates = {3}, .replayable = false}}));
}

TEST(MemoryFloor, counts_the_less_of_what_is_needed_later_and_what_that_is_made_from) {
  expect_floor(60 + 30, 1, held_over({.reads = {0}, .makes = {{1, 30}}}, {Release{0}}));
  expect_floor(60 + 40, 1, held_over({.reads = {0}, .makes = {{1, 50}}}, {Release{0}}));
  const Operator once{.makes = {{0, 40}}, .replayable = false};
  expect_floor(60 + 40, 2,
               {{once, Operator{.reads = {0}, .makes = {{1, 50}}}, Release{0},
                 Operator{.makes = {{2, 60}}}, Release{2}, Operator{.reads = {1}}}});
}

// Storage 1, of 50 bytes, is needed after an operator that makes 20 bytes.
TEST(RecomputeBound, asks_for_the_cheapest_of_what_has_to_go) {
  const Trace trace{{Operator{.makes = {{1, 50}}, .ns = 7}, Operator{.makes = {{2, 50}}, .ns = 9},
                     Operator{.makes = {{3, 20}}}, Release{3}, Operator{.reads = {1}}, Release{1},
                     Operator{.reads = {2}}}};
  expect_bound(0, 120, trace);
  expect_bound(7, 119, trace);  // one byte less: a whole storage is freed
  expect_bound(7, 100, trace);
  expect_bound(16, 99, trace);
  expect_bound(kNoPlan, 49, trace);
}

TEST(RecomputeBound, asks_for_whole_ns) {
  Trace trace;
  for (const StorageId id : {1, 2, 3})
    trace.events.emplace_back(Operator{.makes = {{id, 50}}, .ns = 5});
  trace.events.insert(trace.events.end(), {Operator{.makes = {{4, 100}}}, Release{4}});
  for (const StorageId id : {1, 2, 3}) {
    trace.events.insert(trace.events.end(), {Operator{.reads = {id}}, Release{id}});
  }
  expect_bound(7, 250 - 70, trace, 10);  // to free 70 bytes at 5 ns per 50
  expect_bound(8, 250 - 71, trace, 10);
}

TEST(RecomputeBound, asks_for_an_operator_once_whatever_it_brings_back) {
  const Trace trace{{Operator{.makes = {{1, 50}, {2, 50}}, .ns = 10}, Operator{.makes = {{3, 60}}},
                     Release{3}, Operator{.reads = {1}}, Operator{.reads = {2}}}};
  expect_bound(10, 159, trace);
  expect_bound(10, 100, trace);
}

// Storage 1, of 50 bytes, is needed after an operator that makes 60 bytes.
Trace made_by(std::vector<graph::Event> events) {
  events.insert(events.end(), {Operator{.makes = {{8, 60}}}, Release{8}, Operator{.reads = {1}}});
  return {.events = std::move(events)};
}

TEST(RecomputeBound, asks_for_every_writer_and_for_what_a_rerun_reads) {
  const Operator maker{.makes = {{1, 50}}, .ns = 5};
  expect_bound(5, 109, made_by({maker}));
  expect_bound(5 + 6, 109, made_by({maker, Operator{.mutates = {1}, .ns = 6}}));
  const Operator parent{.makes = {{0, 30}}, .ns = 100};
  const Operator child{.reads = {0}, .makes = {{1, 50}}, .ns = 1};
  expect_bound(0, 110, made_by({parent, child, Release{0}}));
  expect_bound(1, 90, made_by({parent, child, Release{0}}));  // the parent's result is held
  expect_bound(100, 89, made_by({parent, child, Release{0}}), 100 + 1);
}

TEST(RecomputeBound, does_not_ask_for_the_writers_of_what_is_read_at_an_older_version) {
  const Operator old{.makes = {{0, 30}}, .ns = 100};
  const Operator reader{.reads = {0}, .makes = {{1, 50}}, .ns = 1};
  for (const bool replayable : {true, false}) {
    const Operator writer{.mutates = {0}, .ns = 1000, .replayable = replayable};
    expect_bound(100, 89, made_by({old, reader, writer, Release{0}}), 100 + 1);
  }
}

TEST(RecomputeBound, adds_up_what_goes_more_than_once) {
  const Operator use{.reads = {1}};
  Trace trace{{Operator{.makes = {{1, 50}}, .ns = 10}}};
  for (std::int64_t times = 1; times < 5; ++times) {
    const StorageId large = times + 1;
    trace.events.insert(trace.events.end(),
                        {Operator{.makes = {{large, 60}}}, Release{large}, use});
    expect_bound(0, 110, trace);
    expect_bound(10 * times, 109, trace);
  }
}

}  // namespace
}  // namespace neap::planner
