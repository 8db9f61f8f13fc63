// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a plan does with each storage of the peak, on a step small enough to follow by hand, and on
// random plans.
#include "graph/random_plans.h"
#include "graph/random_traces.h"

#include <neap/explain.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>

namespace neap::graph {
namespace {

using testing::ElementsAre;
using Action = Step::Action;

// A weight (100 bytes) and data (10) are given. The forward makes 2 (40), 3 (20) and the loss 4
// (5); the backward reads 2 and 3 and makes the gradient 5 (100).
Trace step() {
  Trace trace;
  trace.events = {
      Given{.storage = 0, .bytes = 100, .kind = StorageKind::Parameter},
      Given{.storage = 1, .bytes = 10, .kind = StorageKind::Input},
      Operator{.name = "linear",
               .layer = "one",
               .phase = Phase::Forward,
               .reads = {0, 1},
               .makes = {{2, 40}},
               .ns = 7},
      Operator{.name = "gelu",
               .layer = "one",
               .phase = Phase::Forward,
               .reads = {2},
               .makes = {{3, 20}},
               .ns = 2},
      Operator{.name = "loss",
               .layer = "two",
               .phase = Phase::Forward,
               .reads = {3},
               .makes = {{4, 5}},
               .ns = 1},
      Operator{.name = "linear_backward",
               .layer = "one",
               .phase = Phase::Backward,
               .reads = {2, 3, 1},
               .makes = {{5, 100}},
               .ns = 9},
      Release{2},
      Release{3},
      Release{4},
      Operator{.name = "sgd", .phase = Phase::Optimizer, .reads = {5}, .mutates = {0}, .ns = 4},
      Release{5},
  };
  return trace;
}

Plan plan_of(std::vector<Step> steps) {
  Plan plan;
  plan.steps = std::move(steps);
  return plan;
}

std::vector<std::string> lines(const std::vector<Explanation>& all) {
  std::vector<std::string> lines;
  for (const Explanation& one : all) {
    lines.push_back(std::to_string(one.storage) + " " + std::to_string(one.bytes) + " " +
                    name_of(one.fate) + (one.at_plain_peak ? " P" : " -") +
                    (one.at_peak ? "p " : "- ") +
                    (one.remake_ns ? std::to_string(*one.remake_ns) : "never") + " x" +
                    std::to_string(one.times) + ": " + one.why);
  }
  return lines;
}

TEST(Explain, of_a_plan_that_frees_and_makes_again) {
  // 2 goes before the loss and comes back for the backward; 4 goes as soon as it is made.
  const Plan plan = plan_of({{Action::Run, 0},
                             {Action::Run, 1},
                             {Action::Free, 2},
                             {Action::Run, 2},
                             {Action::Free, 4},
                             {Action::Rerun, 0},
                             {Action::Run, 3},
                             {Action::Free, 2},
                             {Action::Free, 3},
                             {Action::Run, 4},
                             {Action::Free, 5}});
  EXPECT_THAT(
      lines(explain(step(), plan)),
      ElementsAre("0 100 pinned Pp never x0: given: a parameter, which no operator of the step "
                  "makes; sgd of the optimizer reads it",
                  "5 100 kept Pp 9 x0: linear_backward in the backward makes it",
                  "2 40 recomputed Pp 7 x1: freed after gelu in the forward; made again for "
                  "linear_backward in the backward",
                  "3 20 kept Pp 2 x0: linear_backward in the backward reads it",
                  "1 10 pinned Pp never x0: given: an input, which no operator of the step makes; "
                  "linear_backward in the backward reads it",
                  "4 5 evicted P- 1 x0: freed after loss in the forward; no operator reads it "
                  "afterwards"));
}

TEST(Explain, of_the_plain_step_keeps_all_that_can_be_made_again) {
  for (const Explanation& one : explain(step(), plain_plan(step()))) {
    EXPECT_EQ(one.fate, one.storage < 2 ? Fate::Pinned : Fate::Kept) << one.storage;
    EXPECT_TRUE(one.at_peak && one.at_plain_peak);
    EXPECT_EQ(one.times, 0);
  }
}

TEST(Explain, says_why_an_operator_must_not_run_twice) {
  Trace trace = step();
  auto& linear = std::get<Operator>(trace.events[2]);
  auto& gelu = std::get<Operator>(trace.events[3]);
  linear.replayable = false;
  linear.random = true;
  gelu.mutates = {1};
  const std::vector<std::string> all = lines(explain(trace, plain_plan(trace)));
  EXPECT_EQ(all.at(2),
            "2 40 pinned Pp never x0: its maker linear must not run twice: it draws random "
            "numbers; linear_backward in the backward reads it");
  EXPECT_EQ(all.at(3),
            "3 20 pinned Pp never x0: its maker gelu must not run twice: it writes into what is "
            "given; linear_backward in the backward reads it");
}

TEST(Explain, counts_the_writers_and_what_they_pin) {
  Trace trace = step();
  auto& loss = std::get<Operator>(trace.events[4]);
  loss.reads = {3};
  loss.mutates = {3};
  EXPECT_EQ(lines(explain(trace, plain_plan(trace))).at(3),
            "3 20 kept Pp 3 x0: linear_backward in the backward reads it");
  loss.replayable = false;
  EXPECT_EQ(lines(explain(trace, plain_plan(trace))).at(3),
            "3 20 pinned Pp never x0: its writer loss must not run twice; linear_backward in the "
            "backward reads it");
}

TEST(Explain, has_the_storages_of_both_peaks_once_for_random_plans) {
  std::mt19937_64 engine(5);
  int offloaded = 0;
  for (int i = 0; i < 300; ++i) {
    Trace trace = random_trace(engine);
    if (i % 2 == 0) trace.out_bytes_per_s = trace.in_bytes_per_s = 2'000'000'000;
    const Plan plan = random_plan(engine, trace);
    std::set<StorageId> at_plain_peak, at_peak, told_plain, told;
    const auto collect = [](const Timeline& line, std::set<StorageId>& to) {
      for (const Holder& one : line.at_the_peak) {
        if (one.storage >= 0) to.insert(one.storage);
      }
    };
    collect(timeline(trace, plain_plan(trace)), at_plain_peak);
    collect(timeline(trace, plan), at_peak);
    for (const Explanation& one : explain(trace, plan)) {
      if (one.at_plain_peak) {
        ASSERT_TRUE(told_plain.insert(one.storage).second) << i;
      }
      if (one.at_peak) {
        ASSERT_TRUE(told.insert(one.storage).second) << i;
      }
      ASSERT_TRUE(one.at_plain_peak || one.at_peak);
      ASSERT_EQ(one.fate == Fate::Recomputed, one.times > 0);
      ASSERT_EQ(one.fate == Fate::Offloaded, one.times == 0 && one.loads > 0);
      offloaded += one.fate == Fate::Offloaded ? 1 : 0;
      ASSERT_FALSE(one.why.empty());
      if (one.fate == Fate::Pinned) {
        ASSERT_FALSE(one.remake_ns);
      }
    }
    ASSERT_EQ(told_plain, at_plain_peak) << i;
    ASSERT_EQ(told, at_peak) << i;
  }
  EXPECT_GE(offloaded, 100);
}

}  // namespace
}  // namespace neap::graph
