// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/passes.h"

#include "bench/traces/step_builder.h"
#include "planner/blocks.h"
#include "planner/trial.h"

#include <gtest/gtest.h>

#include <map>

namespace neap::planner {
namespace {

using bench::StepBuilder;
using bench::Value;

constexpr std::int64_t kBytes = 1024;

// Its backward reads the inputs.
Value apply(StepBuilder& step, const std::vector<Value>& inputs, std::int64_t ns = 100) {
  return step.run({.name = "op",
                   .reads = inputs,
                   .makes = {kBytes},
                   .ns = ns,
                   .backward = {{.name = "back", .of = inputs, .saved = inputs, .ns = ns}}})[0];
}

graph::Trace residual_trace(int blocks) {
  StepBuilder step(1);
  Value x = step.parameter(kBytes);
  for (int i = 0; i < blocks; ++i) {
    const Value y = apply(step, {apply(step, {apply(step, {x})})});
    x = apply(step, {x, y});
  }
  return std::move(step).finish(x, {}, "residual");
}

Pass::Grain coarse(const Pass& pass) {
  return {
      .far = pass.saved_bytes() / 3, .limit = pass.saved_bytes() / 3, .most = 96, .coarse = true};
}

TEST(Passes, find_the_blocks_of_a_residual_network) {
  const graph::Trace trace = residual_trace(6);
  const Program program(trace);
  const Replays replays(program);
  const std::vector<Pass> passes = passes_of(trace, replays);
  ASSERT_EQ(passes.size(), 1U);
  EXPECT_EQ(passes[0].first(), 0);
  EXPECT_EQ(passes[0].turn(), 24);
  // In the first block, the skip connection carries a parameter, so it crosses no cut.
  const std::vector<Index> between = {1, 2, 3, 4, 8, 12, 16, 20};
  EXPECT_EQ(passes[0].cuts(coarse(passes[0])), between);
}

TEST(Passes, cut_a_chain_everywhere_or_where_it_was_dear) {
  StepBuilder step(1);
  Value x = step.parameter(kBytes);
  for (int i = 0; i < 5; ++i)
    x = apply(step, {apply(step, {x}, 1'000'000)}, i == 2 ? 1'000'000 : 1);
  const graph::Trace trace = std::move(step).finish(x, {}, "chain");
  const Program program(trace);
  const Replays replays(program);
  const std::vector<Pass> passes = passes_of(trace, replays);
  ASSERT_EQ(passes.size(), 1U);
  // The cuts are between two products, not before them, because a cheap operator stands there.
  // Operator 5 is an expensive one.
  const std::vector<Index> dear = {1, 3, 5, 6, 7, 9};
  EXPECT_EQ(passes[0].cuts(coarse(passes[0])), dear);
  const Pass::Grain fine{.far = 9 * kBytes, .limit = 9 * kBytes, .most = 99, .coarse = false};
  EXPECT_EQ(passes[0].cuts(fine).size(), 9U);
}

TEST(Passes, do_not_cut_where_only_what_the_backward_does_not_need_crosses) {
  StepBuilder step(1);
  Value x = step.parameter(kBytes);
  for (int i = 0; i < 4; ++i) {
    // Like a normalization before an activation: the second operator saves its output.
    const Value y = apply(step, {x});
    x = step.run({.name = "relu",
                  .reads = {y},
                  .makes = {kBytes},
                  .ns = 100,
                  .backward = {{.name = "back", .of = {y}, .saved_outputs = {0}}}})[0];
  }
  const graph::Trace trace = std::move(step).finish(x, {}, "activations");
  const Program program(trace);
  const Replays replays(program);
  const std::vector<Pass> passes = passes_of(trace, replays);
  ASSERT_EQ(passes.size(), 1U);
  const std::vector<Index> behind = {2, 4, 6};
  EXPECT_EQ(passes[0].cuts(coarse(passes[0])), behind);
}

TEST(Passes, know_what_the_backward_needs) {
  const graph::Trace trace = residual_trace(2);
  const Program program(trace);
  const Replays replays(program);
  const Pass pass = passes_of(trace, replays).at(0);
  EXPECT_EQ(pass.saved_bytes(), 8 * kBytes);
  EXPECT_EQ(pass.saved_before(5), 5 * kBytes);
  const Index skipped = program.makes(3)[0];
  EXPECT_TRUE(pass.is_saved(skipped));
  EXPECT_EQ(pass.uses(skipped).made, 3);
  EXPECT_EQ(pass.uses(skipped).last_forward, 7);
  EXPECT_TRUE(pass.is_far(skipped, 2 * kBytes));
  EXPECT_FALSE(pass.is_far(skipped, 3 * kBytes));
  EXPECT_FALSE(pass.is_mobile(program.makes(pass.turn())[0])) << "the backward made it";
}

graph::Operator raw(graph::Phase phase, std::vector<graph::StorageId> reads,
                    std::vector<graph::Made> makes) {
  return {
      .name = "op", .phase = phase, .reads = std::move(reads), .makes = std::move(makes), .ns = 1};
}

TEST(Passes, leave_alone_what_is_used_after_them) {
  graph::Trace trace;
  trace.events.emplace_back(raw(graph::Phase::Forward, {}, {{0, kBytes}}));
  trace.events.emplace_back(raw(graph::Phase::Forward, {0}, {{1, kBytes}}));
  trace.events.emplace_back(raw(graph::Phase::Backward, {0, 1}, {{2, kBytes}}));
  trace.events.emplace_back(raw(graph::Phase::Optimizer, {0, 2}, {}));
  const Program program(trace);
  const Replays replays(program);
  const Pass pass = passes_of(trace, replays).at(0);
  EXPECT_FALSE(pass.is_mobile(0));
  EXPECT_TRUE(pass.is_mobile(1));
}

TEST(Passes, do_not_cut_between_what_is_made_and_what_writes_into_it) {
  graph::Trace trace;
  trace.events.emplace_back(raw(graph::Phase::Forward, {}, {{0, kBytes}}));
  for (graph::StorageId i = 0; i < 3; ++i) {
    trace.events.emplace_back(raw(graph::Phase::Forward, {i}, {{i + 1, kBytes}}));
    trace.events.emplace_back(raw(graph::Phase::Forward, {i + 1}, {}));
    std::get<graph::Operator>(trace.events.back()).mutates = {i + 1};
  }
  trace.events.emplace_back(raw(graph::Phase::Backward, {0, 1, 2, 3}, {{4, kBytes}}));
  const Program program(trace);
  const Replays replays(program);
  const Pass pass = passes_of(trace, replays).at(0);
  const std::vector<Index> between = {1, 3, 5};
  EXPECT_EQ(pass.cuts({pass.saved_bytes(), pass.saved_bytes(), 99, false}), between);
}

TEST(Restoration, holds_what_may_not_run_again_and_what_that_was_made_from) {
  graph::Trace trace;
  trace.events.emplace_back(raw(graph::Phase::Forward, {}, {{0, kBytes}}));
  trace.events.emplace_back(raw(graph::Phase::Forward, {0}, {{1, kBytes}}));
  std::get<graph::Operator>(trace.events.back()).replayable = false;
  trace.events.emplace_back(raw(graph::Phase::Forward, {1}, {{2, kBytes}}));
  trace.events.emplace_back(raw(graph::Phase::Backward, {2}, {{3, kBytes}}));
  const Program program(trace);
  const Replays replays(program);
  Restoration restoration(replays);
  for (const Index storage : {0, 1, 2}) restoration.set(storage, false);
  restoration.bring(std::vector<Index>{2}, 3, [](Index) { return false; });
  const std::vector<GroupRerun> expected = {{2, 3}};
  EXPECT_EQ(restoration.reruns(), expected);
  EXPECT_TRUE(restoration.is_there(2));
}

TEST(Passes, are_as_many_as_there_are_backwards) {
  graph::Trace trace;
  graph::StorageId next = 0;
  trace.events.emplace_back(graph::Given{next, kBytes, graph::StorageKind::Parameter});
  for (const graph::Phase phase :
       {graph::Phase::Forward, graph::Phase::Forward, graph::Phase::Backward, graph::Phase::Other,
        graph::Phase::Backward, graph::Phase::Forward, graph::Phase::Backward,
        graph::Phase::Optimizer, graph::Phase::Forward}) {
    trace.events.emplace_back(graph::Operator{
        .name = "op", .phase = phase, .reads = {next}, .makes = {{next + 1, kBytes}}, .ns = 1});
    ++next;
  }
  const Program program(trace);
  const Replays replays(program);
  const std::vector<Pass> passes = passes_of(trace, replays);
  ASSERT_EQ(passes.size(), 2U);
  EXPECT_EQ(passes[0].first(), 0);
  EXPECT_EQ(passes[0].turn(), 2);
  EXPECT_EQ(passes[0].last(), 5);
  EXPECT_EQ(passes[1].first(), 5);
  EXPECT_EQ(passes[1].turn(), 6);
  EXPECT_EQ(passes[1].last(), 7);
}

// With a cut at each operator, nothing is left to estimate. So the chain's time is the schedule's,
// and its bytes suffice.
void compare_with_schedules(const graph::Trace& trace, std::size_t operators, int exact) {
  const Program program(trace);
  const Replays replays(program);
  const Pass pass = passes_of(trace, replays).at(0);
  const std::int64_t far = pass.saved_bytes();
  const std::vector<Index> cuts = pass.cuts({far, far, 99, false});
  const Blocks blocks(replays, pass, cuts, far, {.levels = 2, .frugal = false});
  const std::vector<ChainStage> chain = blocks.measure();
  ASSERT_EQ(chain.size(), operators);
  std::int64_t plain_ns = 0;
  for (Index op = 0; op < pass.last(); ++op) plain_ns += program.op(op).ns;
  const std::int64_t head = 2 * kBytes;  // the parameter, and the optimizer's bytes for it
  int full = 0;
  for (std::int64_t budget = 5 * kBytes; budget <= 32 * kBytes; budget += kBytes) {
    const auto schedule = ChainTable(chain, budget, 5000).solve(budget);
    ASSERT_TRUE(schedule);
    Restoration restoration(replays);
    blocks.append(schedule->steps, restoration);
    Trial trial(replays, head + budget);
    EXPECT_TRUE(trial.take(restoration.reruns())) << budget << ": " << trial.schedule().peak();
    EXPECT_EQ(plain_ns + trial.schedule().cost(), schedule->ns) << budget;
    if (trial.schedule().peak() == head + budget) ++full;
  }
  EXPECT_EQ(full, exact) << "of 28 budgets are used to the last byte";
}

TEST(Blocks, count_what_the_schedule_counts_of_a_chain) {
  StepBuilder step(1);
  Value x = step.parameter(kBytes);
  for (int i = 0; i < 30; ++i) x = apply(step, {x}, 10'000 * (1 + i % 5));
  compare_with_schedules(std::move(step).finish(x, {}, "chain"), 30, 27);
}

TEST(Blocks, count_what_is_of_several_values_once) {
  compare_with_schedules(residual_trace(7), 28, 26);
}

}  // namespace
}  // namespace neap::planner
