// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// This bound, like the other one, is compared with all plans of tiny traces and with plans that
// were found.
#include "planner/lp_bound.h"

#include "bench/traces/generators.h"
#include "graph/random_plans.h"
#include "planner/all_plans.h"
#include "planner/bounds.h"

#include <neap/planner.h>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <random>

namespace neap::planner {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kAnyTime = 24h;  // some seconds on an idle machine

class LpBound : public testing::Test {
 protected:
  void SetUp() override {
#ifndef NEAP_CLP
    GTEST_SKIP() << "built without NEAP_CLP";
#endif
  }
};

TEST_F(LpBound, never_passes_the_best_plan_of_a_tiny_trace) {
  std::mt19937_64 random(3);
  int budgets = 0, exact = 0, tighter = 0;
  for (int round = 0; round < 1000; ++round) {
    const graph::Trace trace = graph::tiny_trace(random, round);
    graph::AllPlans all(trace);
    if (!all.is_tiny()) continue;
    const graph::Program program(trace);
    const Replays replays(program);
    const std::int64_t smallest = all.smallest_peak();
    const std::int64_t over = graph::plain_plan(trace).predicted_peak - smallest;
    for (int part = 0; part < 4; ++part) {
      const std::int64_t budget = smallest + over * part / 4;
      const std::int64_t least = all.least_ns(budget);
      const std::int64_t bound = lp_bound(replays, budget, kAnyTime).value();
      ASSERT_LE(bound, least) << "round " << round << ", budget " << budget;
      if (least == 0) continue;
      ++budgets;
      exact += bound == least ? 1 : 0;
      tighter += bound > recompute_bound(replays, budget) ? 1 : 0;
    }
  }
  std::printf("%d budgets: %d bounds exact, %d tighter than by moments\n", budgets, exact, tighter);
  EXPECT_GT(exact, budgets / 10);
  EXPECT_GT(tighter, 0);
}

TEST_F(LpBound, holds_for_every_plan_that_is_made_of_a_random_trace) {
  std::mt19937_64 random(4);
  int positive = 0;
  for (int round = 0; round < 2000; ++round) {
    const graph::Trace trace = graph::random_trace(
        random, {.operators = 4 + round % 20, .not_replayable = round % 3 == 0 ? 6 : 0});
    const graph::Program program(trace);
    const graph::Plan plan = graph::random_plan(random, trace);
    const graph::Outcome outcome = graph::simulate(trace, plan);
    const std::int64_t bound = lp_bound(Replays(program), outcome.peak, kAnyTime).value();
    ASSERT_LE(bound, outcome.ns - graph::plain_plan(trace).predicted_ns) << "round " << round;
    positive += bound > 0 ? 1 : 0;
  }
  EXPECT_GT(positive, 60) << "where the bound is 0 nothing is tested";
}

// The other bound adds up the needs of windows that do not overlap. The linear program sees all
// moments.
TEST_F(LpBound, is_what_solve_reports_where_it_is_tighter) {
  int tighter = 0;
  for (const std::string_view family : bench::families()) {
    SCOPED_TRACE(family);
    const graph::Trace trace = bench::make_trace(family, 100, 1);
    for (const double share : {0.7, 0.5, 0.4}) {
      try {
        Options options{.budget = budget_of_share(trace, share)};
        const Solution solution = solve(trace, options);
        options.bound_time = kAnyTime;
        const Solution bounded = solve(trace, options);
        EXPECT_EQ(bounded.plan, solution.plan);
        EXPECT_LE(bounded.bound_ns, bounded.rerun_ns);
        EXPECT_GE(bounded.bound_ns, solution.bound_ns);
        tighter += bounded.bound_ns > solution.bound_ns ? 1 : 0;
      } catch (const Infeasible&) {
      }
    }
  }
  EXPECT_GT(tighter, 3);
}

}  // namespace
}  // namespace neap::planner
