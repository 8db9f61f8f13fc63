// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// solve() on steps with a tier: plans are valid, hardly slower than reruns alone, keep the tier's
// limit, and exist where reruns alone have none.
#include "bench/traces/generators.h"
#include "graph/random_traces.h"

#include <neap/planner.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

namespace neap::planner {
namespace {

using graph::Trace;

Trace with_tier(Trace trace, std::int64_t bytes_per_s) {
  trace.out_bytes_per_s = trace.in_bytes_per_s = bytes_per_s;
  return trace;
}

std::optional<Solution> solution_of(const Trace& trace, const Options& options) {
  try {
    return solve(trace, options);
  } catch (const Infeasible&) {
    return {};
  }
}

constexpr std::int64_t kPage = 4096;  // what neap follows copies nothing that is smaller

Trace in_pages(Trace trace) {
  for (graph::Event& event : trace.events) {
    if (auto* const given = std::get_if<graph::Given>(&event)) given->bytes *= kPage;
    auto* const op = std::get_if<graph::Operator>(&event);
    if (op == nullptr) continue;
    op->workspace *= kPage;
    for (graph::Made& made : op->makes) made.bytes *= kPage;
  }
  return trace;
}

TEST(SolveWithCopies, keeps_budget_claims_and_bounds_on_random_traces) {
  std::mt19937_64 random(1);
  int solved = 0, copied = 0, followed = 0, mixed = 0, below = 0;
  for (int round = 0; round < 30; ++round) {
    const Trace plain = in_pages(graph::random_trace(random, {.operators = 5 + round % 40}));
    const Trace trace =
        with_tier(plain, kPage * (500'000'000 + graph::below(random, 3'000'000'000)));
    const Options options{.budget = budget_of_share(trace, 0.2 + 0.1 * (round % 6)),
                          .followable = round % 2 == 0,
                          .threads = 1};
    const auto found = solution_of(trace, options);
    if (!found) continue;
    ++solved;
    const graph::Outcome outcome = graph::verify(trace, found->plan);
    ASSERT_LE(outcome.peak, options.budget.count()) << round;
    ASSERT_EQ(found->rerun_ns, outcome.ns - found->plain_ns) << round;
    ASSERT_EQ(found->waited_ns, outcome.waited_ns) << round;
    ASSERT_LE(found->bound_ns, found->rerun_ns) << round;
    copied += outcome.offloaded_peak > 0 ? 1 : 0;
    followed += outcome.offloaded_peak > 0 && options.followable ? 1 : 0;
    mixed += outcome.offloaded_peak > 0 && outcome.reruns > 0 ? 1 : 0;
    const auto alone = solution_of(plain, options);
    below += alone ? 0 : 1;
    if (alone) {
      ASSERT_LE(found->rerun_ns, alone->rerun_ns * 21 / 20) << round;
    }
  }
  EXPECT_GE(solved, 8);
  EXPECT_GE(copied, 4);
  EXPECT_GE(followed, 1);
  EXPECT_GE(mixed, 1);
  EXPECT_GE(below, 1);
}

TEST(SolveWithCopies, copies_nothing_where_the_step_has_no_tier_and_the_plan_is_that_of_before) {
  const Trace trace = bench::make_trace("chain", 200, 1);
  const Solution found = solve(trace, {.budget = budget_of_share(trace, 0.4), .threads = 1});
  EXPECT_EQ(found.plan.predicted_offloaded, 0);
  EXPECT_EQ(found.waited_ns, 0);
  EXPECT_EQ(std::ranges::count(found.plan.steps, graph::Step::Action::Load, &graph::Step::action),
            0);
  // Where copies take forever, they are not made.
  const Solution slow =
      solve(with_tier(trace, 1), {.budget = budget_of_share(trace, 0.4), .threads = 1});
  EXPECT_EQ(slow.plan.predicted_offloaded, 0);
  EXPECT_LE(slow.rerun_ns, found.rerun_ns * 21 / 20);
  // Where they take no time, nothing runs again.
  const Solution fast = solve(with_tier(trace, std::int64_t{1} << 60),
                              {.budget = budget_of_share(trace, 0.4), .threads = 1});
  EXPECT_LE(fast.rerun_ns, 1000);
  EXPECT_EQ(fast.bound_ns, 0);
}

TEST(SolveWithCopies, the_tier_never_holds_more_than_its_limit) {
  std::mt19937_64 random(2);
  int limited = 0, solved = 0;
  for (int round = 0; round < 14; ++round) {
    const Trace trace =
        with_tier(graph::random_trace(random, {.operators = 10 + round % 30}), 2'000'000'000);
    Options options{.budget = budget_of_share(trace, 0.5), .threads = 1};
    const auto free = solution_of(trace, options);
    if (!free || free->plan.predicted_offloaded == 0) continue;
    options.offload_limit = Bytes(free->plan.predicted_offloaded / 2);
    const auto found = solution_of(trace, options);
    ++limited;
    if (!found) continue;
    ++solved;
    ASSERT_LE(found->plan.predicted_offloaded, options.offload_limit->count()) << round;
    ASSERT_NO_THROW(graph::verify(trace, found->plan)) << round;
    options.offload_limit = Bytes(0);
    const auto none = solution_of(trace, options);
    if (none) {
      ASSERT_EQ(none->plan.predicted_offloaded, 0) << round;
    }
  }
  EXPECT_GE(limited, 5);
  EXPECT_GE(solved, 1);
}

TEST(SolveWithCopies, equal_arguments_give_equal_plans_for_any_number_of_threads) {
  const Trace trace = with_tier(bench::make_trace("chain", 150, 3), 1'000'000'000);
  const Bytes budget = budget_of_share(trace, 0.15);
  const Solution one = solve(trace, {.budget = budget, .threads = 1});
  for (const int threads : {2, 5}) {
    EXPECT_EQ(solve(trace, {.budget = budget, .threads = threads}).plan, one.plan);
  }
}

TEST(SolveWithCopies, the_frontier_goes_down_to_what_one_operator_needs) {
  const Trace plain = bench::make_trace("chain", 100, 1);
  const Frontier reruns = frontier(plain, 4, {.threads = 1});
  const Frontier both = frontier(with_tier(plain, 100'000'000'000), 4, {.threads = 1});
  EXPECT_LT(both.floor, reruns.floor);
  for (const FrontierPoint& point : both.points) {
    ASSERT_TRUE(point.rerun_ns) << point.budget.count();
    ASSERT_TRUE(point.bound_ns);
    EXPECT_LE(*point.bound_ns, *point.rerun_ns);
  }
  EXPECT_TRUE(std::ranges::is_sorted(both.points, std::ranges::greater{},
                                     [](const FrontierPoint& point) { return *point.rerun_ns; }));
}

}  // namespace
}  // namespace neap::planner
