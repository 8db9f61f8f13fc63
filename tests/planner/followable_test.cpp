// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Options::followable: neap's engine can follow such a plan to the letter. The plan frees nothing
// that the program still holds and that nothing can make again.
#include "bench/traces/generators.h"
#include "graph/random_traces.h"

#include <neap/planner.h>

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace neap::planner {
namespace {

using graph::Plan;
using graph::Step;
using graph::StorageId;
using graph::Trace;

// Storages made by operators that never run again. The value is the number of operators that have
// run when the storage is released; -1: never.
std::map<StorageId, std::int64_t> held_until(const Trace& trace) {
  std::map<StorageId, std::int64_t> held;
  std::int64_t ran = 0;
  for (const graph::Event& event : trace.events) {
    if (const auto* const op = std::get_if<graph::Operator>(&event)) {
      ++ran;
      if (op->replayable) continue;
      for (const graph::Made& made : op->makes) held[made.storage] = -1;
    } else if (const auto* const release = std::get_if<graph::Release>(&event)) {
      if (const auto found = held.find(release->storage); found != held.end()) found->second = ran;
    }
  }
  return held;
}

// How many of these storages the plan frees while the program holds them.
std::int64_t taken_away(const Trace& trace, const Plan& plan) {
  const auto held = held_until(trace);
  std::int64_t taken = 0, ran = 0;
  for (const Step& step : plan.steps) {
    if (step.action == Step::Action::Run) ++ran;
    if (step.action != Step::Action::Free) continue;
    const auto found = held.find(step.target);
    if (found != held.end() && (found->second < 0 || ran < found->second)) ++taken;
  }
  return taken;
}

// neap traces steps in this way: nothing that a backward or an optimizer makes is made again.
Trace as_neap_traces(Trace trace) {
  for (graph::Event& event : trace.events) {
    auto* const op = std::get_if<graph::Operator>(&event);
    if (op != nullptr && op->phase != graph::Phase::Forward) op->replayable = false;
  }
  return trace;
}

TEST(Followable, plans_free_what_never_runs_again_with_its_release_and_not_before) {
  std::int64_t otherwise = 0;
  for (const char* const family : {"chain", "residual", "recurrent"}) {
    SCOPED_TRACE(family);
    const Trace trace = as_neap_traces(bench::make_trace(family, 100, 1));
    const Solution smallest = solve_smallest(trace, {.followable = true, .threads = 1});
    graph::verify(trace, smallest.plan);
    EXPECT_EQ(taken_away(trace, smallest.plan), 0);
    const std::int64_t between =
        (smallest.plan.predicted_peak + graph::run_plainly(trace).peak) / 2;
    const Options options{.budget = Bytes(between), .followable = true, .threads = 1};
    const Plan plan = solve(trace, options).plan;
    graph::verify(trace, plan);
    EXPECT_EQ(taken_away(trace, plan), 0);
    otherwise += taken_away(trace, solve_smallest(trace, {.threads = 1}).plan);
  }
  EXPECT_GT(otherwise, 0) << "the format allows it, so a plan that need not be followed does it";
}

TEST(Followable, plans_of_any_step_are_plans_of_the_step_as_it_was_asked_for) {
  std::mt19937_64 engine(1);
  int tight = 0;
  for (int i = 0; i < 30; ++i) {
    SCOPED_TRACE(i);
    const Trace trace = graph::random_trace(engine, {.operators = 12});
    const Solution solution = solve_smallest(trace, {.followable = true, .threads = 1});
    const graph::Outcome outcome = graph::verify(trace, solution.plan);
    EXPECT_EQ(taken_away(trace, solution.plan), 0);
    tight += outcome.reruns > 0 ? 1 : 0;
  }
  EXPECT_GT(tight, 2);
}

TEST(Followable, plans_without_reruns_free_nothing_before_the_program_does) {
  const Trace trace = as_neap_traces(bench::make_trace("residual", 200, 2));
  const Plan plain = graph::plain_plan(trace);
  const Plan plan = solve(trace, {.budget = Bytes(plain.predicted_peak), .followable = true}).plan;
  EXPECT_EQ(plan.steps.size(), plain.steps.size());
  EXPECT_EQ(plan.predicted_peak, plain.predicted_peak);
}

TEST(Followable, plans_say_what_they_foresee_where_the_trace_knows_all_calls) {
  Trace trace = bench::make_trace("chain", 100, 1);
  const Options options{.budget = budget_of_share(trace, 1), .threads = 1};
  EXPECT_TRUE(solve(trace, options).plan.operators.empty());
  std::uint64_t call = 0;
  for (graph::Event& event : trace.events) {
    if (auto* const op = std::get_if<graph::Operator>(&event)) op->call = ++call;
  }
  const Plan plan = solve(trace, options).plan;
  EXPECT_EQ(plan.label, trace.label);
  EXPECT_EQ(plan.operators, graph::foreseen(trace));
  ASSERT_EQ(plan.operators.size(), call);
  EXPECT_EQ(plan.operators[5].call, 6U);
  EXPECT_FALSE(plan.operators[5].changes.empty());
  for (graph::Event& event : trace.events) {
    if (auto* const op = std::get_if<graph::Operator>(&event))
      op->call = op->call == 7 ? 0 : op->call;
  }
  EXPECT_TRUE(solve(trace, options).plan.operators.empty()) << "one that is not known is enough";
}

}  // namespace
}  // namespace neap::planner
