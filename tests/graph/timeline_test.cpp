// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a step holds over time: on a step small enough to count by hand, and on random plans.
#include "graph/random_plans.h"
#include "graph/random_traces.h"

#include <neap/timeline.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <string>

namespace neap::graph {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Eq;
using testing::IsEmpty;
using testing::Pair;

// Two layers of one block. A weight (100 bytes) and data (10) are given. The forward makes 2 (40),
// which its layer alone reads, and 3 (20), which the next layer reads; 4 (5) dies there. The
// backward makes 5 (100), the weight's gradient, which the optimizer reads.
Trace step() {
  Trace trace;
  trace.events = {
      Given{.storage = 0, .bytes = 100, .kind = StorageKind::Parameter},
      Given{.storage = 1, .bytes = 10, .kind = StorageKind::Input},
      Operator{.name = "linear",
               .layer = "block.one",
               .phase = Phase::Forward,
               .reads = {0, 1},
               .makes = {{2, 40}},
               .ns = 7},
      Operator{.name = "gelu",
               .layer = "block.one",
               .phase = Phase::Forward,
               .reads = {2},
               .makes = {{3, 20}},
               .ns = 2},
      Operator{.name = "loss",
               .layer = "block.two",
               .phase = Phase::Forward,
               .reads = {3},
               .makes = {{4, 5}},
               .ns = 1,
               .workspace = 3},
      Release{4},
      Operator{.name = "linear_backward",
               .layer = "block.one",
               .phase = Phase::Backward,
               .reads = {2, 3, 1},
               .makes = {{5, 100}},
               .ns = 9},
      Release{2},
      Release{3},
      Operator{.name = "sgd", .phase = Phase::Optimizer, .reads = {5}, .mutates = {0}, .ns = 4},
      Release{5},
  };
  return trace;
}

std::vector<std::int64_t> totals(const Timeline& line) {
  std::vector<std::int64_t> totals;
  for (const Moment& moment : line.moments) totals.push_back(moment.total());
  return totals;
}

TEST(Timeline, operators_are_those_of_the_trace_by_their_number) {
  const Trace trace = step();
  const std::vector<const Operator*> operators = operators_of(trace);
  std::vector<std::string> names;
  for (const Operator* const op : operators) names.push_back(op->name);
  EXPECT_THAT(names, ElementsAre("linear", "gelu", "loss", "linear_backward", "sgd"));
  EXPECT_EQ(operators[0], std::get_if<Operator>(&trace.events[2]));
}

TEST(Timeline, of_a_plain_step_counts_each_operator_while_it_runs) {
  const Timeline line = timeline(step(), plain_plan(step()));
  EXPECT_THAT(totals(line), ElementsAre(110, 150, 170, 178, 270, 210, 110));
  std::vector<std::int64_t> ns;
  for (const Moment& moment : line.moments) ns.push_back(moment.ns);
  EXPECT_THAT(ns, ElementsAre(0, 0, 7, 9, 10, 19, 23));
  EXPECT_EQ(line.peak, 4U);
  EXPECT_THAT(line.moments[3].bytes, ElementsAre(100, 0, 0, 10, 60, 5, 3));
  EXPECT_THAT(line.moments[4].bytes, ElementsAre(100, 100, 0, 10, 60, 0, 0));
}

TEST(Timeline, names_what_is_there_at_the_peak_and_why) {
  const Timeline line = timeline(step(), plain_plan(step()));
  std::vector<std::string> holders;
  for (const Holder& holder : line.at_the_peak) {
    holders.push_back(std::to_string(holder.bytes) + " " + name_of(holder.category) + " " +
                      holder.layer + ": " + holder.why);
  }
  EXPECT_THAT(holders,
              ElementsAre("100 parameters block.one: sgd of the optimizer reads it",
                          "100 gradients block.one: linear_backward in the backward makes it",
                          "40 activations block.one: linear_backward in the backward reads it",
                          "20 activations block.one: linear_backward in the backward reads it",
                          "10 inputs block.one: linear_backward in the backward reads it"));
}

TEST(Timeline, counts_a_workspace_and_says_what_cannot_be_made_again) {
  Trace trace = step();
  std::get<Operator>(trace.events[3]).replayable = false;
  std::get<Operator>(trace.events[4]).workspace = 500;
  const Timeline line = timeline(trace, plain_plan(trace));
  EXPECT_EQ(line.peak, 3U);
  EXPECT_EQ(line.at_the_peak.front().category, Category::Workspace);
  EXPECT_EQ(line.at_the_peak.front().why, "loss in the forward runs");
  EXPECT_EQ(line.at_the_peak.at(3).why,
            "loss in the forward reads it, and it cannot be made again");
}

TEST(Timeline, marks_reruns) {
  Plan plan;
  using Action = Step::Action;
  plan.steps = {{Action::Run, 0},  {Action::Run, 1},   {Action::Free, 2}, {Action::Run, 2},
                {Action::Free, 4}, {Action::Rerun, 0}, {Action::Run, 3},  {Action::Free, 2},
                {Action::Free, 3}, {Action::Run, 4},   {Action::Free, 5}};
  const Timeline line = timeline(step(), plan);
  EXPECT_THAT(totals(line), ElementsAre(110, 150, 170, 138, 170, 270, 210, 110));
  EXPECT_TRUE(line.moments[4].rerun);
  EXPECT_EQ(line.moments[4].step, 5);
  EXPECT_EQ(line.moments.back().ns, 30);
}

std::vector<std::optional<std::int64_t>> cached(const Timeline& line) {
  std::vector<std::optional<std::int64_t>> cached;
  for (const Moment& moment : line.moments) cached.push_back(moment.cached);
  return cached;
}

TEST(Timeline, counts_what_the_allocator_keeps_beside_a_plain_step_and_in_no_sum) {
  Trace trace = step();
  const Timeline without = timeline(trace, plain_plan(trace));
  EXPECT_THAT(cached(without), Each(Eq(std::nullopt)));
  trace.reserved = 115;
  std::int64_t reserved = 150;  // less than one peak, as where another thread gives some back
  for (const std::size_t event : {2, 3, 4, 6, 9}) {
    std::get<Operator>(trace.events[event]).reserved = reserved;
    reserved += 25;
  }
  const Timeline line = timeline(trace, plain_plan(trace));
  EXPECT_EQ(totals(line), totals(without));
  EXPECT_EQ(line.peak, without.peak);
  EXPECT_THAT(cached(line), ElementsAre(5, 0, 5, 22, 0, 40, 140));
  Plan other;
  other.steps = {{Step::Action::Run, 0},   {Step::Action::Run, 1},  {Step::Action::Free, 3},
                 {Step::Action::Rerun, 1}, {Step::Action::Run, 2},  {Step::Action::Free, 4},
                 {Step::Action::Run, 3},   {Step::Action::Free, 2}, {Step::Action::Free, 3},
                 {Step::Action::Run, 4},   {Step::Action::Free, 5}};
  EXPECT_THAT(cached(timeline(trace, other)), Each(Eq(std::nullopt)));
}

TEST(Timeline, has_the_peak_of_the_simulator_for_random_plans) {
  std::mt19937_64 engine(3);
  for (int i = 0; i < 500; ++i) {
    Trace trace = random_trace(engine);
    if (i % 2 == 0) trace.out_bytes_per_s = trace.in_bytes_per_s = 2'000'000'000;
    const Plan plan = random_plan(engine, trace);
    const Timeline line = timeline(trace, plan);
    const Outcome outcome = simulate(trace, plan);
    ASSERT_EQ(line.moments[line.peak].total(), outcome.peak) << i;
    ASSERT_EQ(line.moments.back().ns, outcome.ns) << i;
    std::int64_t held = 0;
    for (const Holder& holder : line.at_the_peak) held += holder.bytes;
    ASSERT_EQ(held, outcome.peak) << i;
  }
}

TEST(Timeline, of_a_step_that_accumulates_has_the_activations_of_each_part) {
  Trace trace;
  trace.events = {
      Operator{.name = "f", .layer = "a", .phase = Phase::Forward, .makes = {{0, 10}}, .ns = 1},
      Operator{.name = "b", .layer = "a", .phase = Phase::Backward, .reads = {0}, .ns = 1},
      Release{0},
      Operator{.name = "f", .layer = "a", .phase = Phase::Forward, .makes = {{1, 10}}, .ns = 1},
      Operator{.name = "b", .layer = "a", .phase = Phase::Backward, .reads = {1}, .ns = 1},
      Release{1},
  };
  const Timeline line = timeline(trace, plain_plan(trace));
  const auto activations = static_cast<std::size_t>(Category::Activations);
  for (const std::size_t moment : {1U, 2U, 3U, 4U}) {
    EXPECT_EQ(line.moments[moment].bytes.at(activations), 10) << moment;
  }
  EXPECT_EQ(layers_of(trace).front().activations, 20);
}

TEST(Categories, of_all_storages_are_those_of_the_timeline) {
  const std::map<StorageId, Category> categories = categories_of(step());
  EXPECT_THAT(categories,
              ElementsAre(Pair(0, Category::Parameters), Pair(1, Category::Inputs),
                          Pair(2, Category::Activations), Pair(3, Category::Activations),
                          Pair(4, Category::Temporaries), Pair(5, Category::Gradients)));
  const Timeline line = timeline(step(), plain_plan(step()));
  for (const Holder& holder : line.at_the_peak) {
    EXPECT_EQ(categories.at(holder.storage), holder.category);
  }
  EXPECT_THAT(categories_of(Trace{}), IsEmpty());
}

TEST(Layers, are_in_modules_the_outermost_first) {
  EXPECT_THAT(modules_of("a.b.c"), ElementsAre("a", "a.b", "a.b.c"));
  EXPECT_THAT(modules_of("a"), ElementsAre("a"));
  EXPECT_THAT(modules_of(""), IsEmpty());
}

TEST(Phases, have_the_names_of_a_file) {
  EXPECT_STREQ(name_of(Phase::Forward), "forward");
  EXPECT_STREQ(name_of(Phase::Backward), "backward");
  EXPECT_STREQ(name_of(Phase::Optimizer), "optimizer");
  EXPECT_STREQ(name_of(Phase::Other), "other");
}

TEST(Layers, sum_up_what_their_operators_make_and_take) {
  const std::vector<LayerUse> layers = layers_of(step());
  ASSERT_EQ(layers.size(), 3U);
  EXPECT_EQ(layers[0].name, "block");
  EXPECT_EQ(layers[0].parameters, 100);
  EXPECT_EQ(layers[0].activations, 60);
  EXPECT_EQ(layers[0].freed_by_checkpoint, 60);
  EXPECT_EQ(layers[0].forward_ns, 10);
  EXPECT_EQ(layers[0].backward_ns, 9);
  EXPECT_EQ(layers[1].name, "block.one");
  EXPECT_EQ(layers[1].freed_by_checkpoint, 40) << "the next layer reads the rest";
  EXPECT_EQ(layers[2].name, "block.two");
  EXPECT_EQ(layers[2].activations, 0);
}

}  // namespace
}  // namespace neap::graph
