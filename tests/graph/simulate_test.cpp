// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The rules of a plan: each on a case small enough to count by hand, and all of them against a
// naive second writing on random traces and plans. A wrong peak would break every promise of a
// budget, and no training run would show it.
#include "graph/naive_simulator.h"
#include "graph/random_plans.h"
#include "graph/random_traces.h"

#include <neap/graph.h>

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <ostream>
#include <random>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

namespace neap::graph {
namespace {

using Steps = std::vector<Step>;

Step run(std::int64_t op) { return {Step::Action::Run, op}; }
Step rerun(std::int64_t op) { return {Step::Action::Rerun, op}; }
Step drop(StorageId storage) { return {Step::Action::Free, storage}; }

// What comes of a plan: its figures, or the line of the first rule that it breaks.
struct Verdict {
  std::optional<std::int64_t> broken_line = std::nullopt;
  std::int64_t peak = 0, ns = 0, reruns = 0;

  bool operator==(const Verdict&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Verdict& verdict) {
  if (verdict.broken_line) return out << "broken in line " << *verdict.broken_line;
  return out << verdict.peak << " bytes, " << verdict.ns << " ns, " << verdict.reruns << " reruns";
}

Verdict fine(std::int64_t peak, std::int64_t ns, std::int64_t reruns) {
  return {std::nullopt, peak, ns, reruns};
}
Verdict broken(std::int64_t line) { return {line}; }

Verdict simulated(const Trace& trace, const Plan& plan) {
  try {
    const Outcome outcome = simulate(trace, plan);
    return fine(outcome.peak, outcome.ns, outcome.reruns);
  } catch (const BrokenPlan& error) {
    return broken(error.line);
  }
}

Verdict naive(const Trace& trace, const Plan& plan) {
  const NaiveOutcome outcome = naive_simulate(trace, plan);
  if (outcome.broken_line) return broken(*outcome.broken_line);
  return fine(outcome.peak, outcome.ns, outcome.reruns);
}

void expect(const Trace& trace, const Steps& steps, const Verdict& verdict) {
  const Plan plan{.steps = steps};
  EXPECT_EQ(simulated(trace, plan), verdict);
  EXPECT_EQ(naive(trace, plan), verdict) << "by the naive one";
}

Steps operator+(Steps steps, const Steps& more) {
  steps.insert(steps.end(), more.begin(), more.end());
  return steps;
}

// 0: a parameter of 100; 10 (40), 11 (20) and 12 (8) are made in a row, and the last operator reads
// 10 again.
Trace row() {
  return {
      .events = {Given{.storage = 0, .bytes = 100, .kind = StorageKind::Parameter},
                 Operator{.name = "a", .reads = {0}, .makes = {{10, 40}}, .ns = 5, .workspace = 29},
                 Operator{.name = "b", .reads = {10}, .makes = {{11, 20}}, .ns = 3},
                 Operator{.name = "c", .reads = {10, 11}, .makes = {{12, 8}}, .ns = 2}, Release{10},
                 Release{11}},
      .keep = {12}};
}

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
  // Released storages live on until they are freed, and may come back.
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
  // Also operators that need nothing of each other.
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
  // 0 and 1 are given; 1 is released behind the first operator, 2 before it, 3 at the end.
  const Trace trace{{Given{.storage = 0, .bytes = 100}, Given{.storage = 1, .bytes = 50},
                     Given{.storage = 2, .bytes = 9}, Release{2}, Given{.storage = 3, .bytes = 1},
                     Operator{.name = "a", .reads = {0, 1}, .makes = {{10, 10}}}, Release{1},
                     Operator{.name = "b", .reads = {0}, .makes = {{11, 70}}}, Release{3}}};
  expect(trace, {run(0), run(1)}, fine(160 + 10 + 70, 0, 0));
  expect(trace, {drop(2), run(0), drop(1), run(1), drop(3)}, fine(101 + 10 + 70, 0, 0));
  expect(trace, {drop(1)}, broken(2));
  expect(trace, {run(0), drop(3)}, broken(3));
  // No one makes it again, and what needs it cannot run again.
  expect(trace, {run(0), drop(1), drop(1)}, broken(4));
  expect(trace, {run(0), drop(1), drop(10), rerun(0)}, broken(5));
  // What stands before the first operator counts from the start, though it goes at once.
  expect({{Given{.storage = 0, .bytes = 100}, Release{0}, Operator{.name = "a"}}},
         {drop(0), run(0)}, fine(100, 0, 0));
}

// 1 (30) arrives between the two operators, in a line after the release of what the first one made.
Trace late() {
  return {{Given{.storage = 0, .bytes = 10},
           Operator{.name = "a", .reads = {0}, .makes = {{10, 40}}, .workspace = 20}, Release{10},
           Given{.storage = 1, .bytes = 30},
           Operator{.name = "b", .reads = {0, 1}, .makes = {{11, 1}}}}};
}

TEST(Simulate, counts_late_data_from_the_end_of_the_operator_before_it) {
  expect(late(), {run(0), drop(10), run(1)},
         fine(10 + 40 + 30, 0, 0));  // and not beside the workspace
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

// 1 (16) is made, read by "old", and written into twice: by "w1", and by "w2", which makes 3 (2)
// too and does not read it. Times add up to a number that tells who ran how often.
Trace chain() {
  return {{Operator{.name = "make", .makes = {{1, 16}}, .ns = 1},
           Operator{.name = "old", .reads = {1}, .makes = {{2, 4}}, .ns = 10},
           Operator{.name = "w1", .reads = {1}, .mutates = {1}, .ns = 100},
           Operator{.name = "w2", .mutates = {1}, .makes = {{3, 2}}, .ns = 1000},
           Operator{.name = "new", .reads = {1}, .makes = {{4, 1}}, .ns = 10000}}};
}
const Steps kBeforeNew = {run(0), run(1), run(2), run(3)};
const Steps kWhole = kBeforeNew + Steps{run(4)};

TEST(Simulate, brings_a_written_storage_back_by_its_maker_and_every_write_in_order) {
  const Trace trace = chain();
  expect(trace, kWhole, fine(16 + 4 + 2 + 1, 11111, 0));
  // The second write makes 3 again, beside the one that is there.
  expect(trace, kBeforeNew + Steps{drop(1), rerun(0), rerun(2), rerun(3), run(4)},
         fine(16 + 4 + 2 + 2, 12212, 3));
  // The write that is due may be a first run, and then it is no rerun's business.
  expect(trace, {run(0), run(1), run(2), drop(1), rerun(0), rerun(2), run(3), run(4)},
         fine(23, 11212, 2));
}

TEST(Simulate, needs_exactly_the_version_that_was_read_or_written) {
  const Trace trace = chain();
  expect(trace, kBeforeNew + Steps{drop(1), rerun(0), run(4)}, broken(8));
  expect(trace, kBeforeNew + Steps{drop(1), rerun(0), rerun(2), run(4)}, broken(9));
  expect(trace, kBeforeNew + Steps{drop(1), rerun(0), rerun(3)}, broken(8));
  expect(trace, kBeforeNew + Steps{drop(1), rerun(0), rerun(2), rerun(2)}, broken(9));
  expect(trace, kBeforeNew + Steps{drop(2), rerun(1)}, broken(7));
  expect(trace, kBeforeNew + Steps{rerun(2)}, broken(6));
  expect(trace, kBeforeNew + Steps{drop(3), rerun(3)}, broken(7));
  // Also a first run, and also of what it writes and does not read.
  expect(trace, {run(0), run(1), run(2), drop(1), run(3)}, broken(6));
  expect(trace, {run(0), run(1), run(2), drop(1), rerun(0), run(3)}, broken(7));
}

TEST(Simulate, finishes_a_chain_before_a_free_and_before_the_end) {
  const Trace trace = chain();
  const Steps half = kWhole + Steps{drop(1), rerun(0), rerun(2)};
  expect(trace, half, broken(10));
  expect(trace, half + Steps{drop(1)}, broken(10));
  expect(trace, half + Steps{drop(2)}, broken(11));
  expect(trace, half + Steps{rerun(3)}, fine(25, 12212, 3));
  expect(trace, half + Steps{rerun(3), drop(1)}, fine(25, 12212, 3));
  // The rest of the chain is what has run so far.
  expect(trace,
         {run(0), run(1), run(2), drop(1), rerun(0), rerun(2), drop(1), rerun(0), rerun(2), run(3),
          run(4)},
         fine(23, 11313, 4));
}

TEST(Simulate, may_free_or_leave_what_is_back_at_version_0_alone) {
  const Trace trace = chain();
  const Steps for_old = kWhole + Steps{drop(1), drop(2), rerun(0), rerun(1)};
  expect(trace, for_old, fine(23, 11122, 2));
  expect(trace, for_old + Steps{drop(1)}, fine(23, 11122, 2));
  expect(trace, for_old + Steps{drop(1), rerun(0), rerun(2), rerun(3)}, fine(25, 12223, 5));
}

TEST(Simulate, keeps_the_copy_that_is_there_when_a_rerun_makes_another) {
  const Trace trace{{Operator{.name = "make", .makes = {{1, 16}, {5, 3}}, .ns = 1},
                     Operator{.name = "write", .mutates = {1}},
                     Operator{.name = "new", .reads = {1, 5}, .makes = {{6, 2}}}}};
  expect(trace, {run(0), run(1), drop(5), rerun(0), run(2)}, fine(16 + 16 + 3, 2, 1));
  expect(trace, {run(0), drop(5), rerun(0), run(1), run(2)}, fine(35, 2, 1));
  // 5 stays while 1 comes back.
  expect(trace, {run(0), run(1), drop(1), rerun(0), rerun(1), run(2)}, fine(3 + 16 + 3, 2, 2));
}

TEST(Simulate, brings_back_a_result_that_needs_an_older_version_of_what_its_operator_writes) {
  // For 3 alone, 1 goes back to the version before the second write.
  expect(chain(), kWhole + Steps{drop(3), drop(1), rerun(0), rerun(2), rerun(3)},
         fine(23, 12212, 3));
}

TEST(Simulate, one_write_of_two_storages_needs_both) {
  const Trace trace{{Operator{.name = "a", .makes = {{1, 8}}, .ns = 1},
                     Operator{.name = "b", .makes = {{2, 4}}, .ns = 10},
                     Operator{.name = "write", .reads = {1}, .mutates = {1, 2}, .ns = 100}}};
  const Steps plain = {run(0), run(1), run(2)};
  expect(trace, plain + Steps{drop(1), rerun(0), rerun(2)}, broken(7));
  expect(trace, plain + Steps{drop(1), drop(2), rerun(0), rerun(2)}, broken(8));
  expect(trace, plain + Steps{drop(1), drop(2), rerun(0), rerun(1), rerun(2)}, fine(12, 222, 3));
}

TEST(Simulate, never_reruns_a_write_into_a_given_storage_nor_its_older_readers) {
  const Trace trace{{Given{.storage = 0, .bytes = 10},
                     Operator{.name = "old", .reads = {0}, .makes = {{1, 1}}},
                     Operator{.name = "write", .reads = {0}, .mutates = {0}, .makes = {{2, 1}}},
                     Operator{.name = "new", .reads = {0}, .makes = {{3, 1}}}}};
  const Steps plain = {run(0), run(1), run(2)};
  expect(trace, plain, fine(13, 0, 0));
  expect(trace, plain + Steps{drop(2), rerun(1)}, broken(6));
  expect(trace, plain + Steps{drop(1), rerun(0)}, broken(6));
  expect(trace, plain + Steps{drop(3), rerun(2)}, fine(13, 0, 1));
  expect(trace, {run(0), drop(1), rerun(0), run(1), run(2)}, fine(13, 0, 1));
}

// "norm" updates 9, given, when it runs first.
Trace running_statistics() {
  return {{Given{.storage = 0, .bytes = 10}, Given{.storage = 9, .bytes = 4},
           Operator{.name = "old", .reads = {9}, .makes = {{1, 1}}},
           Operator{.name = "norm", .reads = {0, 9}, .mutates_once = {9}, .makes = {{2, 8}}},
           Operator{.name = "new", .reads = {9}, .makes = {{3, 1}}},
           Operator{.name = "count", .mutates_once = {9}}, Release{9}}};
}

TEST(Simulate, what_is_written_once_is_neither_read_nor_written_by_a_rerun) {
  const Trace trace = running_statistics();
  const Steps plain = {run(0), run(1), run(2), run(3)};
  expect(trace, plain, fine(14 + 10, 0, 0));
  expect(trace, plain + Steps{drop(2), rerun(1), drop(2), rerun(1)}, fine(24, 0, 2));
  expect(trace, plain + Steps{drop(9), drop(2), rerun(1)}, fine(24, 0, 1));
  // "new" still finds the version that it read.
  expect(trace, {run(0), run(1), run(2), drop(2), rerun(1), drop(3), rerun(2), run(3)},
         fine(24, 0, 2));
  expect(trace, plain + Steps{rerun(3)}, broken(6));  // brings nothing back
}

TEST(Simulate, what_is_written_once_has_a_new_version) {
  expect(running_statistics(), {run(0), drop(1), rerun(0), run(1), run(2), run(3)}, fine(24, 0, 1));
  expect(running_statistics(), {run(0), run(1), drop(1), rerun(0)}, broken(5));
  expect(running_statistics(), {run(0), run(1), run(2), run(3), drop(3), rerun(2)}, broken(7));
}

TEST(Simulate, never_reruns_what_is_not_replayable) {
  Trace trace = row();
  std::get<Operator>(trace.events[2]).replayable = false;
  expect(trace, {run(0), run(1), run(2), drop(11), rerun(1)}, broken(6));
  expect(trace, {run(0), run(1), drop(10), rerun(0), run(2)}, fine(189, 15, 1));
}

TEST(Simulate, what_is_kept_is_there_at_the_end_at_its_last_version) {
  expect(row(), {run(0), run(1), run(2), drop(12)}, broken(6));
  expect(row(), {run(0), run(1), run(2), drop(12), rerun(2)}, fine(169, 12, 1));
  Trace trace = chain();
  trace.keep = {1};
  expect(trace, kWhole + Steps{drop(1)}, broken(8));
  expect(trace, kWhole + Steps{drop(1), rerun(0)}, broken(9));
  expect(trace, kWhole + Steps{drop(1), rerun(0), rerun(2)}, broken(10));
  expect(trace, kWhole + Steps{drop(1), rerun(0), rerun(2), rerun(3)}, fine(25, 12212, 3));
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

// 0 where the trace is accepted.
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

// As the page says: every storage goes at its release, but for what is kept.
Steps plain_steps(const Trace& trace) {
  Steps steps;
  std::int64_t operators = 0;
  for (const Event& event : trace.events) {
    if (std::holds_alternative<Operator>(event)) steps.push_back(run(operators++));
    const auto* const release = std::get_if<Release>(&event);
    if (release == nullptr || std::ranges::count(trace.keep, release->storage) > 0) continue;
    steps.push_back(drop(release->storage));
  }
  return steps;
}

TEST(PlainPlan, frees_at_each_release_and_runs_nothing_twice) {
  EXPECT_EQ(plain_plan(row()), claimed(169, 169, 10, {run(0), run(1), run(2), drop(10), drop(11)}));
  EXPECT_EQ(plain_plan(late()), claimed(80, 80, 0, {run(0), drop(10), run(1)}));
  EXPECT_EQ(plain_plan({}), Plan{});
  Trace trace = row();
  trace.keep = {11};
  EXPECT_EQ(plain_plan(trace).steps, (Steps{run(0), run(1), run(2), drop(10)}));
}

bool restores_a_chain(const Trace& trace, const Plan& plan) {
  const NaiveRules rules(trace);
  return std::ranges::any_of(plan.steps, [&rules](const Step& step) {
    return step.action == Step::Action::Rerun && !rules.at(step.target).mutates.empty();
  });
}

bool agree(const Trace& trace, const Plan& plan) {
  const Verdict verdict = simulated(trace, plan);
  if (verdict != naive(trace, plan)) return false;
  if (verdict.broken_line) return true;
  const std::int64_t step = simulate(trace, plan).peak_step;
  if (step >= 0) {
    return naive_simulate(trace, plan).peaks.at(static_cast<std::size_t>(step)) == verdict.peak;
  }
  const NaiveRules rules(trace);
  return rules.bytes(rules.start()) == verdict.peak;
}

// A disagreement with as few steps as leaving out one at a time leads to.
std::string smallest_disagreement(const Trace& trace, Plan plan) {
  for (std::size_t i = 0; i < plan.steps.size();) {
    Plan shorter = plan;
    shorter.steps.erase(shorter.steps.begin() + static_cast<std::ptrdiff_t>(i));
    if (agree(trace, shorter)) {
      ++i;
    } else {
      plan = shorter;
      i = 0;
    }
  }
  std::ostringstream text;
  text << "simulate: " << simulated(trace, plan) << "\nnaive: " << naive(trace, plan) << " "
       << naive_simulate(trace, plan).reason << '\n';
  write_trace(trace, text);
  write_plan(plan, text);
  return text.str();
}

struct Tally {
  std::int64_t cases = 0, valid = 0, with_reruns = 0, with_chains = 0;
  std::map<std::string, std::int64_t> broken;  // rule: how often it was the first
};

void compare(const Trace& trace, const Plan& plan, Tally& tally) {
  if (!agree(trace, plan)) RC_FAIL(smallest_disagreement(trace, plan));
  const NaiveOutcome outcome = naive_simulate(trace, plan);
  ++tally.cases;
  if (outcome.broken_line) {
    ++tally.broken[outcome.reason];
    return;
  }
  ++tally.valid;
  tally.with_reruns += outcome.reruns > 0 ? 1 : 0;
  tally.with_chains += restores_a_chain(trace, plan) ? 1 : 0;
}

std::mt19937_64 any_engine() {
  return std::mt19937_64(
      *rc::gen::noShrink(rc::gen::resize(100, rc::gen::arbitrary<std::uint64_t>())));
}

Trace any_trace(std::mt19937_64& engine) {
  return random_trace(engine, {.operators = below(engine, 15),
                               .head_givens = below(engine, 5),
                               .mutates_made = below(engine, 80),
                               .released = 30 + below(engine, 60),
                               .kept = below(engine, 100)});
}

TEST(Simulate, agrees_with_a_naive_writing_on_random_plans_and_on_damaged_ones) {
  Tally tally;
  EXPECT_TRUE(rc::check([&tally] {
    std::mt19937_64 engine = any_engine();
    for (int i = 0; i < 30; ++i) {
      const Trace trace = any_trace(engine);
      const Plan plan = random_plan(engine, trace, {.frees = 10 + below(engine, 80)});
      RC_ASSERT(naive_simulate(trace, plan).reason == "");
      RC_ASSERT(verify(trace, plan).peak == plan.predicted_peak);
      compare(trace, plan, tally);
      for (int copy = 0; copy < 4; ++copy) {
        Plan other = damaged(engine, trace, plan);
        if (chance(engine, 30)) other = damaged(engine, trace, other);
        compare(trace, other, tally);
      }
    }
  }));
  // Not vacuous: half of the cases are valid, most of those rerun something, and each rule was
  // broken first.
  EXPECT_GE(tally.cases, 10'000);
  EXPECT_GE(tally.valid, tally.cases * 2 / 5);
  EXPECT_GE(tally.with_reruns, tally.cases / 4);
  EXPECT_GE(tally.with_chains, tally.cases / 20);
  for (const char* const rule :
       {"runs an unknown operator", "runs out of order", "reruns an unknown operator",
        "reruns before the first run", "reruns what is not replayable",
        "reruns what writes a given storage", "needs what is not resident", "needs another version",
        "brings nothing back", "frees what is not resident",
        "frees a given storage without a release", "frees a given storage before its release",
        "frees in the middle of a chain", "ends before the last run",
        "ends in the middle of a chain", "ends without a kept storage",
        "ends with a kept storage at an old version"}) {
    EXPECT_GE(tally.broken[rule], 5) << rule;
  }
  EXPECT_EQ(tally.broken.size(), 17U) << "a rule that is not in the list";
}

TEST(PlainPlan, of_any_trace_frees_at_each_release_and_keeps_its_claims) {
  EXPECT_TRUE(rc::check([] {
    std::mt19937_64 engine = any_engine();
    for (int i = 0; i < 10; ++i) {
      const Trace trace = any_trace(engine);
      const Plan plan = plain_plan(trace);
      RC_ASSERT(plan.steps == plain_steps(trace));
      RC_ASSERT(plan.budget == plan.predicted_peak);
      RC_ASSERT(naive(trace, plan) == fine(plan.predicted_peak, plan.predicted_ns, 0));
      RC_ASSERT(verify(trace, plan).peak == plan.predicted_peak);
    }
  }));
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
