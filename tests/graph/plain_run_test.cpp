// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a trace says about a plain step, on traces small enough to count by hand.
#include <neap/graph.h>

#include <gtest/gtest.h>

#include <string>

namespace neap::graph {
namespace {

using Ids = std::vector<StorageId>;

// Storage 0 is a parameter of 100 bytes, and 1 is data of 10 that is read late. Storages 2 (40) and
// 3 (20) are made, and 3 dies. A backward makes 4 (30).
Trace small_step() {
  Trace trace;
  trace.events = {
      Given{.storage = 0, .bytes = 100, .kind = StorageKind::Parameter},
      Operator{.name = "a", .phase = Phase::Forward, .reads = {0}, .makes = {{2, 40}}},
      Given{.storage = 1, .bytes = 10},
      Operator{.name = "b",
               .phase = Phase::Forward,
               .reads = {1, 2},
               .makes = {{3, 20}},
               .workspace = 15},
      Release{3},
      Operator{
          .name = "c", .phase = Phase::Backward, .reads = {2}, .mutates = {0}, .makes = {{4, 30}}},
      Release{2},
  };
  return trace;
}

TEST(PlainRun, counts_what_lives_makes_and_workspace_where_they_are_the_most) {
  const PlainRun run = run_plainly(small_step());
  EXPECT_EQ(run.given, 110);
  EXPECT_EQ(run.peak, 110 + 40 + 20 + 15) << "the data has arrived by then";
  EXPECT_EQ(run.peak_operator, 1);
  EXPECT_EQ(run.workspace, 15);
  EXPECT_EQ(run.at_peak, (Ids{0, 1, 2, 3}));
  EXPECT_EQ(run.after_forward, (Ids{0, 1, 2}));
  EXPECT_EQ(run.at_end, (Ids{0, 1, 4}));
}

TEST(PlainRun, of_a_step_without_a_backward_ends_where_its_forward_ends) {
  Trace trace = small_step();
  trace.events.resize(5);
  const PlainRun run = run_plainly(trace);
  EXPECT_EQ(run.after_forward, run.at_end);
  EXPECT_EQ(run_plainly(Trace{}).peak, 0);
  EXPECT_EQ(run_plainly(Trace{{Given{.storage = 5, .bytes = 7}}}).peak_operator, -1);
}

std::string refusal(const Trace& trace) {
  try {
    run_plainly(trace);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "not refused";
}

TEST(PlainRun, counts_data_that_arrives_late_from_where_it_arrives) {
  Trace trace;
  trace.events = {
      Given{.storage = 0, .bytes = 100},
      Operator{.name = "a", .phase = Phase::Forward, .reads = {0}, .makes = {{1, 40}}},
      Release{0},
      Given{.storage = 2, .bytes = 70},
      Operator{.name = "b", .phase = Phase::Forward, .reads = {1, 2}, .makes = {{3, 20}}},
  };
  const PlainRun run = run_plainly(trace);
  EXPECT_EQ(run.given, 170);
  EXPECT_EQ(run.peak, 210) << "it arrives as soon as the operator before it has run";
  EXPECT_EQ(run.peak_operator, 0);
  EXPECT_EQ(run.at_peak, (Ids{0, 1, 2}));
  EXPECT_EQ(run.peak, simulate(trace, plain_plan(trace)).peak);
}

TEST(PlainRun, refuses_a_trace_that_no_program_can_have) {
  EXPECT_EQ(refusal({{Given{.storage = 1}, Given{.storage = 1}}}),
            "trace: line 3: storage 1 is defined twice");
  EXPECT_EQ(refusal({{Operator{.name = "a", .reads = {3}}}}),
            "trace: line 2: a reads storage 3, which is not defined");
  EXPECT_EQ(refusal({{Operator{.name = "a", .mutates = {3}}}}),
            "trace: line 2: a writes storage 3, which is not defined");
  EXPECT_EQ(refusal({{Operator{.name = "a", .makes = {{3, 1}}}, Release{3}, Release{3}}}),
            "trace: line 4: storage 3 is released twice");
  EXPECT_EQ(refusal({{Operator{.name = "a", .makes = {{3, 1}}}, Release{3},
                      Operator{.name = "b", .reads = {3}}}}),
            "trace: line 4: b reads storage 3 after its release");
}

}  // namespace
}  // namespace neap::graph
