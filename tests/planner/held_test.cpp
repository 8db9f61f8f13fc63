// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/held.h"

#include "graph/random_traces.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace neap::planner {
namespace {

using graph::Given;
using graph::Operator;
using graph::Release;
using graph::Trace;

TEST(WithWhatIsHeld, what_an_operator_makes_that_never_runs_again_arrives_behind_it) {
  Trace trace;
  trace.events = {Given{0, 8},
                  Operator{.name = "once",
                           .reads = {0},
                           .makes = {{1, 8}, {2, 16}},
                           .workspace = 3,
                           .replayable = false},
                  Operator{.name = "again", .reads = {1}, .makes = {{3, 8}}}, Release{2}};
  trace.keep = {3};
  const Trace held = with_what_is_held(trace);
  EXPECT_EQ(
      held.events,
      (std::vector<graph::Event>{
          Given{0, 8},
          Operator{.name = "once", .reads = {0}, .workspace = 3 + 8 + 16, .replayable = false},
          Given{1, 8}, Given{2, 16}, Operator{.name = "again", .reads = {1}, .makes = {{3, 8}}},
          Release{2}}));
  EXPECT_EQ(held.keep, trace.keep);
}

// A loss (2) that the program holds while the optimizer overwrites a parameter (0).
TEST(WithWhatIsHeld, what_cannot_be_made_again_from_some_operator_on_is_needed_there) {
  Trace trace;
  trace.events = {
      Given{0, 8},
      Operator{.name = "forward", .reads = {0}, .makes = {{1, 8}}},
      Operator{.name = "loss", .reads = {1}, .makes = {{2, 8}}},
      Operator{.name = "backward", .reads = {1}, .makes = {{3, 8}}, .replayable = false},
      Release{1},
      Operator{.name = "step", .reads = {0, 3}, .mutates = {0}},
      Operator{.name = "again", .reads = {3}, .mutates = {0}},
      Operator{.name = "report", .reads = {3}, .makes = {{4, 8}}},
      Release{2}};
  const Trace held = with_what_is_held(trace);
  std::vector<std::vector<graph::StorageId>> reads;
  for (const graph::Event& event : held.events) {
    if (const auto* const op = std::get_if<Operator>(&event)) reads.push_back(op->reads);
  }
  // "report" may run again, which must not need the loss.
  EXPECT_EQ(reads,
            (std::vector<std::vector<graph::StorageId>>{{0}, {1}, {1}, {0, 3, 2}, {3, 2}, {3}}));
}

TEST(WithWhatIsHeld, the_peak_of_the_plain_step_stays) {
  std::mt19937_64 random(1);
  int with_held = 0;
  for (int round = 0; round < 500; ++round) {
    const Trace trace = graph::random_trace(random, {.operators = 20, .not_replayable = 20});
    const Trace held = with_what_is_held(trace);
    with_held += held.events.size() > trace.events.size() ? 1 : 0;
    EXPECT_EQ(graph::run_plainly(held).peak, graph::run_plainly(trace).peak) << "round " << round;
  }
  EXPECT_GT(with_held, 400);
}

}  // namespace
}  // namespace neap::planner
