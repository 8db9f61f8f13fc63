// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The rules of a plan, each on a trace small enough to count by hand: peaks, the order of runs,
// what may be freed and when, what is refused, and the claims that verify() checks. A wrong peak
// would break a budget, and no training run would show it.
#include "graph/plan_verdicts.h"

#include <neap/graph.h>

#include <gtest/gtest.h>

#include <cstdint>
#include <variant>

namespace neap::graph {
namespace {

TEST(Simulate, counts_the_head_results_in_the_making_and_workspace) {
  expect(row(), {run(0), run(1), run(2)}, fine(100 + 40 + 29, 10, 0));
  Trace trace = row();
  std::get<Operator>(trace.events[1]).workspace = 0;
  expect(trace, {run(0), run(1), run(2), drop(10), drop(11)}, fine(100 + 40 + 20 + 8, 10, 0));
  expect({}, {}, fine(0, 0, 0));
  expect({{Given{.storage = 5, .bytes = 7}, Given{.storage = 6, .bytes = 4}}}, {}, fine(11, 0, 0));
}

TEST(Simulate, counts_what_no_operator_uses_and_a_rerun_as_its_run) {
  expect(row(), {run(0), run(1), drop(10), rerun(0), run(2)}, fine(100 + 20 + 40 + 29, 15, 1));
  expect(row(), {run(0), drop(10), rerun(0), run(1), run(2)}, fine(100 + 40 + 29, 15, 1));
  // A released storage stays resident until the plan frees it. A rerun may restore it.
  expect(row(), {run(0), run(1), run(2), drop(10), rerun(0)}, fine(100 + 28 + 40 + 29, 15, 1));
}

TEST(Simulate, says_in_which_step_the_peak_was) {
  const auto peak_step = [](const Trace& trace, const Steps& steps) {
    return simulate(trace, {.steps = steps}).peak_step;
  };
  EXPECT_EQ(peak_step(row(), {run(0), run(1), run(2)}), 0);
  EXPECT_EQ(peak_step(row(), {run(0), run(1), drop(10), rerun(0), run(2)}), 3);
  EXPECT_EQ(peak_step({{Given{.storage = 5, .bytes = 7}}}, {}), -1);
  EXPECT_EQ(peak_step({}, {}), -1);
}

TEST(Simulate, runs_every_operator_once_in_order) {
  expect(row(), {run(1)}, broken(2));
  expect(row(), {run(0), run(0)}, broken(3));
  expect(row(), {run(0), run(2)}, broken(3));
  expect(row(), {run(0), run(1), run(2), run(3)}, broken(5));
  expect(row(), {run(0), run(1), run(2), run(2)}, broken(5));
  expect(row(), {run(-1)}, broken(2));
  expect(row(), {}, broken(2));
  expect(row(), {run(0), run(1)}, broken(4));
  // The order holds for independent operators too.
  const Trace apart{
      {Operator{.name = "a", .makes = {{1, 1}}}, Operator{.name = "b", .makes = {{2, 1}}}}};
  expect(apart, {run(0), run(1)}, fine(2, 0, 0));
  expect(apart, {run(1), run(0)}, broken(2));
  expect(apart, {run(0)}, broken(3));
}

TEST(Simulate, reruns_only_what_has_run) {
  expect(row(), {rerun(0)}, broken(2));
  expect(row(), {run(0), rerun(1)}, broken(3));
  expect(row(), {run(0), rerun(-1)}, broken(3));
  expect(row(), {run(0), run(1), run(2), rerun(3)}, broken(5));
}

TEST(Simulate, needs_every_input_resident) {
  expect(row(), {run(0), drop(10), run(1)}, broken(4));
  expect(row(), {run(0), run(1), drop(10), run(2)}, broken(5));
  expect(row(), {run(0), run(1), drop(10), drop(11), rerun(1)}, broken(6));
}

TEST(Simulate, refuses_a_rerun_that_brings_nothing_back) {
  expect(row(), {run(0), rerun(0)}, broken(3));
  expect(row(), {run(0), drop(10), rerun(0), rerun(0)}, broken(5));
  const Trace makes_nothing{{Given{.storage = 0, .bytes = 1}, Operator{.name = "a", .reads = {0}}}};
  expect(makes_nothing, {run(0)}, fine(1, 0, 0));
  expect(makes_nothing, {run(0), rerun(0)}, broken(3));
}

TEST(Simulate, frees_only_what_is_resident) {
  expect(row(), {drop(10)}, broken(2));
  expect(row(), {run(0), drop(10), drop(10)}, broken(4));
  expect(row(), {run(0), drop(11)}, broken(3));
  expect(row(), {run(0), drop(99)}, broken(3));
  expect(row(), {run(0), drop(-1)}, broken(3));
}

TEST(Simulate, never_frees_a_given_storage_before_its_release) {
  expect(row(), {drop(0)}, broken(2));
  expect(row(), {run(0), run(1), run(2), drop(0)}, broken(5));
  // All four are given. 2 is released before the first operator, 1 after it, and 3 at the end.
  const Trace trace{{Given{.storage = 0, .bytes = 100}, Given{.storage = 1, .bytes = 50},
                     Given{.storage = 2, .bytes = 9}, Release{2}, Given{.storage = 3, .bytes = 1},
                     Operator{.name = "a", .reads = {0, 1}, .makes = {{10, 10}}}, Release{1},
                     Operator{.name = "b", .reads = {0}, .makes = {{11, 70}}}, Release{3}}};
  expect(trace, {run(0), run(1)}, fine(160 + 10 + 70, 0, 0));
  expect(trace, {drop(2), run(0), drop(1), run(1), drop(3)}, fine(101 + 10 + 70, 0, 0));
  expect(trace, {drop(1)}, broken(2));
  expect(trace, {run(0), drop(3)}, broken(3));
  // No operator can restore a given storage, so its readers cannot run again.
  expect(trace, {run(0), drop(1), drop(1)}, broken(4));
  expect(trace, {run(0), drop(1), drop(10), rerun(0)}, broken(5));
  // A given storage before the first operator counts from the start, even when it is freed at once.
  expect({{Given{.storage = 0, .bytes = 100}, Release{0}, Operator{.name = "a"}}},
         {drop(0), run(0)}, fine(100, 0, 0));
}

// Storage 1 (30 bytes) is given between the two operators, after the release of 10.
Trace late() {
  return {{Given{.storage = 0, .bytes = 10},
           Operator{.name = "a", .reads = {0}, .makes = {{10, 40}}, .workspace = 20}, Release{10},
           Given{.storage = 1, .bytes = 30},
           Operator{.name = "b", .reads = {0, 1}, .makes = {{11, 1}}}}};
}

TEST(Simulate, counts_late_data_from_the_end_of_the_operator_before_it) {
  expect(late(), {run(0), drop(10), run(1)},
         fine(10 + 40 + 30, 0, 0));  // the workspace is gone by then
  EXPECT_EQ(simulate(late(), {.steps = {run(0), drop(10), run(1)}}).peak_step, 0);
  expect(late(), {drop(1)}, broken(2));
  expect(late(), {run(0), drop(1)}, broken(3));
  Trace at_the_end = late();
  at_the_end.events.emplace_back(Given{.storage = 2, .bytes = 50});
  at_the_end.keep = {2};
  expect(at_the_end, {run(0), drop(10), run(1)}, fine(10 + 30 + 1 + 50, 0, 0));
  at_the_end.events.emplace_back(Release{1});
  at_the_end.events.emplace_back(Release{2});
  expect(at_the_end, {run(0), drop(10), run(1), drop(1)}, fine(10 + 30 + 1 + 50, 0, 0));
  expect(at_the_end, {run(0), drop(10), drop(1)}, broken(4));
  expect(at_the_end, {run(0), drop(10), run(1), drop(2)}, broken(6));
}

TEST(Simulate, runs_again_after_the_late_data_that_stands_behind) {
  Trace trace = late();
  std::get<Operator>(trace.events[4]).reads = {0, 1, 10};
  trace.events.erase(trace.events.begin() + 2);
  expect(trace, {run(0), drop(10), rerun(0), run(1)}, fine(10 + 30 + 40 + 20, 0, 1));
}

TEST(Simulate, never_reruns_what_is_not_replayable) {
  Trace trace = row();
  std::get<Operator>(trace.events[2]).replayable = false;
  expect(trace, {run(0), run(1), run(2), drop(11), rerun(1)}, broken(6));
  expect(trace, {run(0), run(1), drop(10), rerun(0), run(2)}, fine(189, 15, 1));
}

TEST(Simulate, what_is_kept_is_there_at_the_end_also_when_it_was_released) {
  Trace trace = row();
  trace.keep = {10, 0};
  trace.events.emplace_back(Release{0});
  expect(trace, {run(0), run(1), run(2)}, fine(169, 10, 0));
  expect(trace, {run(0), run(1), run(2), drop(10)}, broken(6));
  expect(trace, {run(0), run(1), run(2), drop(10), rerun(0)}, fine(197, 15, 1));
  expect(trace, {run(0), run(1), run(2), drop(0)}, broken(6));
}

TEST(Simulate, a_storage_of_no_bytes_is_there_or_not_like_any_other) {
  const Trace trace{{Operator{.name = "a", .makes = {{1, 0}}},
                     Operator{.name = "b", .reads = {1}, .makes = {{2, 5}}}}};
  expect(trace, {run(0), drop(1), run(1)}, broken(4));
  expect(trace, {run(0), rerun(0)}, broken(3));
  expect(trace, {run(0), drop(1), rerun(0), run(1)}, fine(5, 0, 1));
}

TEST(Simulate, says_the_first_broken_rule) {
  expect(row(), {run(0), drop(77), run(7)}, broken(3));
  expect(row(), {run(0), run(7), drop(77)}, broken(3));
}

// The line that is refused; 0: the trace is accepted.
std::int64_t wrong_line(const Trace& trace) {
  try {
    simulate(trace, {});
  } catch (const FormatError& error) {
    return error.line;
  } catch (const BrokenPlan&) {
    return 0;
  }
  return 0;
}

TEST(Simulate, refuses_a_trace_that_is_none) {
  const Given given{.storage = 1, .bytes = 1};
  EXPECT_EQ(wrong_line({{given, given}}), 3);
  EXPECT_EQ(wrong_line({{given, Operator{.makes = {{1, 1}}}}}), 3);
  EXPECT_EQ(wrong_line({{Operator{.makes = {{1, 1}, {1, 1}}}}}), 2);
  EXPECT_EQ(wrong_line({{Operator{.makes = {{1, 1}}}, given}}), 3);
  EXPECT_EQ(wrong_line({{given, Operator{.reads = {2}}}}), 3);
  EXPECT_EQ(wrong_line({{given, Operator{.mutates = {2}}}}), 3);
  EXPECT_EQ(wrong_line({{given, Operator{.mutates_once = {2}}}}), 3);
  EXPECT_EQ(wrong_line({{Operator{.reads = {1}}, given}}), 2);
  EXPECT_EQ(wrong_line({{Operator{.reads = {1}, .makes = {{1, 1}}}}}), 2);
  EXPECT_EQ(wrong_line({{given, Release{1}, Operator{.reads = {1}}}}), 4);
  EXPECT_EQ(wrong_line({{given, Release{1}, Operator{.mutates = {1}}}}), 4);
  EXPECT_EQ(wrong_line({{given, Release{1}, Operator{.mutates_once = {1}}}}), 4);
  EXPECT_EQ(wrong_line({{given, Release{1}, Release{1}}}), 4);
  EXPECT_EQ(wrong_line({{given, Release{1}, given}}), 4);
  EXPECT_EQ(wrong_line({{Release{1}}}), 2);
  EXPECT_EQ(wrong_line({{Operator{.makes = {{1, 1}}}, Operator{.mutates_once = {1}}}}), 3);
  EXPECT_EQ(wrong_line({{given, Operator{.mutates = {1}, .mutates_once = {1}}}}), 3);
  EXPECT_EQ(wrong_line({.events = {given}, .keep = {1, 2}}), 3);
  EXPECT_EQ(wrong_line({.events = {given, Release{1}}, .keep = {1}}), 0);
}

Plan claimed(std::int64_t budget, std::int64_t peak, std::int64_t ns, const Steps& steps) {
  return {.budget = budget, .predicted_peak = peak, .predicted_ns = ns, .steps = steps};
}

std::int64_t refused_line(const Trace& trace, const Plan& plan) {
  try {
    verify(trace, plan);
  } catch (const BrokenPlan& error) {
    return error.line;
  }
  return 0;
}

TEST(Verify, holds_a_plan_to_its_claims) {
  const Steps steps = {run(0), run(1), drop(10), rerun(0), run(2)};
  const Outcome outcome = verify(row(), claimed(189, 189, 15, steps));
  EXPECT_EQ(outcome.peak, 189);
  EXPECT_EQ(outcome.ns, 15);
  EXPECT_EQ(outcome.reruns, 1);
  EXPECT_EQ(outcome.peak_step, 3);
  EXPECT_EQ(refused_line(row(), claimed(1000, 189, 15, steps)), 0);
  EXPECT_EQ(refused_line(row(), claimed(1000, 188, 15, steps)), 1);
  EXPECT_EQ(refused_line(row(), claimed(1000, 190, 15, steps)), 1);
  EXPECT_EQ(refused_line(row(), claimed(189, 189, 14, steps)), 1);
  EXPECT_EQ(refused_line(row(), claimed(189, 189, 16, steps)), 1);
  EXPECT_EQ(refused_line(row(), claimed(188, 189, 15, steps)), 1);
  EXPECT_EQ(refused_line(row(), claimed(188, 188, 15, steps)), 1);
  EXPECT_EQ(refused_line(row(), claimed(189, 189, 15, {run(0), run(2)})), 3);
}

TEST(PlainPlan, frees_at_each_release_and_runs_nothing_twice) {
  EXPECT_EQ(plain_plan(row()), claimed(169, 169, 10, {run(0), run(1), run(2), drop(10), drop(11)}));
  EXPECT_EQ(plain_plan(late()), claimed(80, 80, 0, {run(0), drop(10), run(1)}));
  EXPECT_EQ(plain_plan({}), Plan{});
  Trace trace = row();
  trace.keep = {11};
  EXPECT_EQ(plain_plan(trace).steps, (Steps{run(0), run(1), run(2), drop(10)}));
}

TEST(Simulate, refuses_numbers_whose_sums_could_overflow) {
  constexpr std::int64_t kLarge = std::int64_t{1} << 60;
  EXPECT_THROW((void)simulate({{Given{.bytes = -1}}}, {}), FormatError);
  EXPECT_THROW(
      (void)simulate({{Given{.storage = 0, .bytes = kLarge}, Given{.storage = 1, .bytes = 1}}}, {}),
      FormatError);
  EXPECT_THROW((void)simulate({{Operator{.name = "a", .workspace = -1}}}, {}), FormatError);
  EXPECT_THROW(
      (void)simulate({{Operator{.name = "a", .ns = kLarge}, Operator{.name = "b", .ns = 1}}}, {}),
      FormatError);
  const Trace trace{{Operator{.name = "a", .makes = {{0, 1}}, .ns = kLarge}}};
  Plan plan{.steps = {{Step::Action::Run, 0}}};
  for (int i = 0; i < 8; ++i) {
    plan.steps.push_back({Step::Action::Free, 0});
    plan.steps.push_back({Step::Action::Rerun, 0});
  }
  try {
    (void)simulate(trace, plan);
    FAIL() << "nine times 2^60 ns were added up";
  } catch (const BrokenPlan& error) {
    EXPECT_EQ(error.line, 16) << "the run and six reruns fit, the seventh reaches 2^63";
  }
}

}  // namespace
}  // namespace neap::graph
