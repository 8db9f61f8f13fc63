// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Every start must give a plan inside the budget, which the simulator checks. To judge how good a
// start is, it is compared with the best schedule of a chain whose every number the test knows.
#include "planner/segments.h"

#include "bench/traces/generators.h"
#include "bench/traces/step_builder.h"
#include "graph/random_traces.h"
#include "planner/chain.h"
#include "planner/emit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>

namespace neap::planner {
namespace {

using bench::StepBuilder;
using bench::Value;
using Start = std::optional<std::vector<GroupRerun>> (*)(const graph::Trace&, const Replays&,
                                                         std::int64_t);

constexpr std::array<Start, 3> kStarts = {&chen, &knapsack, &rotor};
constexpr std::array<const char*, 3> kNames = {"chen", "knapsack", "rotor"};

std::int64_t budget_at(const Program& program, std::int64_t plain, std::int64_t percent) {
  std::int64_t head = 0;
  for (Index storage = 0; storage < program.storages(); ++storage) {
    const Program::Storage& one = program.storage(storage);
    if (one.given && one.arrival == kNone) head += one.bytes;
  }
  return head + (plain - head) * percent / 100;
}

Schedule schedule_of(const Replays& replays, const std::vector<GroupRerun>& reruns) {
  Schedule schedule(replays);
  for (const GroupRerun one : reruns) schedule.add(one);
  return schedule;
}

// The time of the reruns in ns, after checks of the schedule.
std::int64_t checked_cost(const graph::Trace& trace, const Replays& replays,
                          const std::vector<GroupRerun>& reruns, std::int64_t budget) {
  Schedule schedule = schedule_of(replays, reruns);
  EXPECT_LE(schedule.peak(), budget);
  EXPECT_NO_THROW(graph::verify(trace, emit(schedule, budget)));
  return schedule.cost();
}

TEST(Segments, make_plans_inside_the_budget_for_every_family) {
  std::array<int, 3> found{};
  for (const std::string_view family : bench::families()) {
    for (const std::int64_t operators : {300, 1000}) {
      const graph::Trace trace = bench::make_trace(family, operators, 1);
      const Program program(trace);
      const Replays replays(program);
      const std::int64_t plain = Schedule(replays).peak();
      for (const std::int64_t percent : {70, 50, 30}) {
        const std::int64_t budget = budget_at(program, plain, percent);
        for (std::size_t i = 0; i < kStarts.size(); ++i) {
          SCOPED_TRACE(std::string(family) + " " + std::to_string(operators) + " " +
                       std::to_string(percent) + " " + kNames[i]);
          const auto reruns = kStarts[i](trace, replays, budget);
          if (!reruns) continue;
          ++found[i];
          EXPECT_GT(checked_cost(trace, replays, *reruns, budget), 0);
        }
      }
    }
  }
  // There are 42 cases for each start.
  EXPECT_GE(found[0], 24) << "chen";
  EXPECT_GE(found[1], 25) << "knapsack";
  EXPECT_GE(found[2], 37) << "rotor";
}

TEST(Segments, make_plans_for_whatever_a_trace_may_be) {
  std::mt19937_64 random(1);
  std::array<int, 3> found{};
  for (int round = 0; round < 1500; ++round) {
    const graph::Trace trace = graph::random_trace(random, {.operators = 4 + round % 60});
    const Program program(trace);
    const Replays replays(program);
    const std::int64_t budget = Schedule(replays).peak() * (50 + round % 50) / 100;
    for (std::size_t i = 0; i < kStarts.size(); ++i) {
      SCOPED_TRACE(std::to_string(round) + " " + kNames[i]);
      const auto reruns = kStarts[i](trace, replays, budget);
      if (!reruns) continue;
      ++found[i];
      (void)checked_cost(trace, replays, *reruns, budget);
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
  }
  for (std::size_t i = 0; i < kStarts.size(); ++i) EXPECT_GT(found[i], 50) << kNames[i];
}

TEST(Segments, are_the_same_for_the_same_arguments) {
  for (const std::string_view family : {"residual", "random"}) {
    const graph::Trace trace = bench::make_trace(family, 400, 2);
    const Program program(trace);
    const Replays replays(program);
    const std::int64_t budget = budget_at(program, Schedule(replays).peak(), 60);
    for (const Start start : kStarts) {
      const auto one = start(trace, replays, budget);
      ASSERT_EQ(one.has_value(), start(trace, replays, budget).has_value());
      if (!one) continue;
      EXPECT_EQ(*one, *start(trace, replays, budget));
    }
  }
}

TEST(Segments, have_nothing_to_do_where_all_fits_and_nothing_to_say_without_a_backward) {
  graph::Trace trace = bench::make_trace("chain", 100, 1);
  const Program program(trace);
  const Replays replays(program);
  const std::int64_t plain = Schedule(replays).peak();
  for (const Start start : kStarts) EXPECT_EQ(start(trace, replays, plain)->size(), 0U);
  for (graph::Event& event : trace.events) {
    if (auto* const op = std::get_if<graph::Operator>(&event)) op->phase = graph::Phase::Forward;
  }
  for (const Start start : kStarts) EXPECT_FALSE(start(trace, replays, plain - 1).has_value());
}

constexpr std::int64_t kBytes = 1024;

// Its backward reads the input.
Value apply(StepBuilder& step, Value x, std::int64_t bytes, std::int64_t ns) {
  return step.run({.name = "op",
                   .reads = {x},
                   .makes = {bytes},
                   .ns = ns,
                   .backward = {{.name = "back", .of = {x}, .saved = {x}, .ns = ns}}})[0];
}

TEST(Segments, chen_keeps_what_crosses_and_runs_the_rest_again_when_its_backward_begins) {
  StepBuilder step(1);
  Value x = step.parameter(kBytes);
  for (int i = 0; i < 9; ++i) x = apply(step, x, kBytes, 0);
  const graph::Trace trace = std::move(step).finish(x, {}, "nine");
  const Program program(trace);
  const Replays replays(program);
  const std::int64_t plain = Schedule(replays).peak();
  std::int64_t smallest = plain;
  std::vector<GroupRerun> last;
  while (const auto reruns = chen(trace, replays, smallest)) {
    last = *reruns;
    smallest = schedule_of(replays, last).peak() - 1;
  }
  // Operator 9 makes the gradient of the loss. Operator 10 + i is the backward of operator 8 - i.
  // There are three segments of three. The last is kept, and the others run again up to the value
  // that crosses to the next segment.
  const std::vector<GroupRerun> expected = {{3, 13}, {4, 13}, {0, 16}, {1, 16}};
  EXPECT_EQ(last, expected);
}

TEST(Segments, knapsack_makes_again_what_is_cheapest_by_bytes) {
  StepBuilder step(1);
  Value x = step.parameter(kBytes);
  // The value that is cheapest per byte is neither the cheapest nor the largest one.
  for (const auto& [bytes, ns] : {std::pair{4, 90'000},
                                  {1, 8'000},
                                  {4, 90'000},
                                  {2, 10'000},
                                  {4, 90'000},
                                  {8, 90'000},
                                  {1, 90'000}}) {
    x = apply(step, x, bytes * kBytes, ns);
  }
  const graph::Trace trace = std::move(step).finish(x, {}, "bytes");
  const Program program(trace);
  const Replays replays(program);
  const auto reruns = knapsack(trace, replays, Schedule(replays).peak() - 1);
  ASSERT_TRUE(reruns);
  // Operator 8 + i is the backward of operator 6 - i. That of operator 4 reads what operator 3
  // made.
  const std::vector<GroupRerun> expected = {{3, 10}};
  EXPECT_EQ(*reruns, expected);
}

// Value i has bytes[i]. A backward reads the value before it, so nothing runs again only for the
// backward itself.
std::vector<ChainStage> chain_of(const std::vector<std::int64_t>& bytes,
                                 const std::vector<std::int64_t>& ns) {
  std::vector<ChainStage> chain;
  for (std::size_t i = 0; i < ns.size(); ++i) {
    chain.push_back({.ns = ns[i],
                     .output = bytes[i + 1],
                     .gradient = bytes[i + 1],
                     .options = {{.kept = bytes[i + 1], .backward = bytes[i], .again = bytes[i]}}});
  }
  return chain;
}

TEST(Segments, rotor_is_near_the_best_schedule_of_a_chain) {
  std::mt19937_64 random(3);
  double worst = 0;
  int compared = 0;
  for (int round = 0; round < 12; ++round) {
    StepBuilder step(1);
    std::vector<std::int64_t> bytes = {kBytes};
    std::vector<std::int64_t> ns;
    Value x = step.parameter(kBytes);
    for (int i = 0; i < 40; ++i) {
      bytes.push_back(kBytes * static_cast<std::int64_t>(1 + random() % 20));
      ns.push_back(static_cast<std::int64_t>(50'000 + random() % 100'000));
      x = apply(step, x, bytes.back(), ns.back());
    }
    const graph::Trace trace = std::move(step).finish(x, {}, "chain");
    const Program program(trace);
    const Replays replays(program);
    const std::int64_t plain = Schedule(replays).peak();
    const std::int64_t head = budget_at(program, plain, 0);
    std::int64_t forward_ns = 0;
    for (std::size_t i = 0; i < ns.size(); ++i) {
      ns[i] = program.op(static_cast<Index>(i)).ns;
      forward_ns += ns[i];
    }
    const std::vector<ChainStage> chain = chain_of(bytes, ns);
    for (const std::int64_t percent : {70, 50, 30, 20}) {
      const std::int64_t budget = budget_at(program, plain, percent);
      const auto best = ChainTable(chain, budget - head, 5000).solve(budget - head);
      const auto reruns = rotor(trace, replays, budget);
      if (!best) continue;
      ASSERT_TRUE(reruns) << round << ' ' << percent;
      ++compared;
      const std::int64_t cost = checked_cost(trace, replays, *reruns, budget);
      const double ratio = static_cast<double>(forward_ns + cost) / static_cast<double>(best->ns);
      worst = std::max(worst, ratio);
    }
  }
  EXPECT_GT(compared, 30);
  EXPECT_LT(worst, 1.005) << "of the forward with its reruns";
}

// Two forwards, each with its backward, as when gradients are accumulated.
TEST(Segments, reach_into_each_pass_of_a_step) {
  graph::Trace trace;
  graph::StorageId next = 0;
  trace.events.emplace_back(graph::Given{next++, kBytes, graph::StorageKind::Parameter});
  const auto run = [&](graph::Phase phase, std::vector<graph::StorageId> reads) {
    trace.events.emplace_back(graph::Operator{.name = "op",
                                              .phase = phase,
                                              .reads = std::move(reads),
                                              .makes = {{next, kBytes}},
                                              .ns = 100});
    return next++;
  };
  for (int pass = 0; pass < 2; ++pass) {
    std::vector<graph::StorageId> values = {0};
    for (int i = 0; i < 20; ++i) values.push_back(run(graph::Phase::Forward, {values.back()}));
    graph::StorageId gradient = run(graph::Phase::Backward, {values.back()});
    for (int i = 19; i >= 0; --i) {
      gradient = run(graph::Phase::Backward, {gradient, values[static_cast<std::size_t>(i)]});
    }
  }
  const Program program(trace);
  const Replays replays(program);
  const std::int64_t budget = budget_at(program, Schedule(replays).peak(), 60);
  for (std::size_t i = 0; i < kStarts.size(); ++i) {
    SCOPED_TRACE(kNames[i]);
    const auto reruns = kStarts[i](trace, replays, budget);
    // knapsack would bring the whole chain back at the turn, which is no smaller.
    if (kStarts[i] == &knapsack) continue;
    ASSERT_TRUE(reruns);
    const std::int64_t cost = checked_cost(trace, replays, *reruns, budget);
    const auto early =
        std::ranges::count_if(*reruns, [](GroupRerun one) { return one.stage < 41; });
    EXPECT_EQ(early * 2, std::ssize(*reruns));
    EXPECT_LT(cost, 2 * 20 * 100);
  }
}

}  // namespace
}  // namespace neap::planner
