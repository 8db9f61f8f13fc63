// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Compares plans with the optimum, on graphs small enough to compute it.
#include "planner/optimum.h"

#include "graph/random_traces.h"
#include "planner/all_plans.h"
#include "planner/bounds.h"

#include <neap/planner.h>

#include <gtest/gtest.h>

#include <cstdio>
#include <limits>
#include <optional>
#include <random>
#include <set>

namespace neap::planner {
namespace {

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kMostStates = 100'000;

// Traces without writes in place, whose given storages stay.
graph::Trace small_trace(std::mt19937_64& random, std::int64_t operators) {
  graph::Trace trace = graph::random_trace(random, {.operators = operators,
                                                    .mutates_made = 0,
                                                    .mutates_given = 0,
                                                    .mutates_once = 0,
                                                    .kept_released = 0});
  std::set<graph::StorageId> given;
  std::erase_if(trace.events, [&](const graph::Event& event) {
    if (const auto* const one = std::get_if<graph::Given>(&event)) given.insert(one->storage);
    const auto* const release = std::get_if<graph::Release>(&event);
    return release != nullptr && given.contains(release->storage);
  });
  return trace;
}

TEST(Optimum, is_that_of_all_plans) {
  std::mt19937_64 random(1);
  int with_reruns = 0;
  for (int round = 0; round < 600; ++round) {
    const graph::Trace trace = small_trace(random, 3 + round % 5);
    graph::AllPlans all(trace);
    if (!all.is_tiny()) continue;
    const Bytes budget = budget_of_share(trace, 0.01 * static_cast<double>(round % 100));
    const std::int64_t expected = all.least_ns(budget.count());
    const auto found = Optimum(trace).search(budget.count(), kAny, kMostStates);
    EXPECT_TRUE(found.complete);
    EXPECT_EQ(found.ns.value_or(graph::kNoPlan), expected) << "round " << round;
    with_reruns += expected > 0 && expected != graph::kNoPlan ? 1 : 0;
  }
  EXPECT_GT(with_reruns, 20);
}

TEST(Solve, is_within_3_percent_of_the_optimum_in_95_of_100_small_graphs) {
  std::mt19937_64 random(1);
  int graphs = 0, near = 0, exact = 0;
  for (int round = 0; graphs < 200; ++round) {
    const graph::Trace trace = small_trace(random, 8 + round % 20);
    // Budgets from the floor to the plain peak.
    const graph::Program program(trace);
    const std::int64_t floor = memory_floor(Replays(program)).bytes;
    const std::int64_t plain = graph::plain_plan(trace).predicted_peak;
    const Bytes budget(floor + (plain - floor) * (round % 100) / 100);
    std::optional<Solution> solution;
    try {
      solution = solve(trace, {.budget = budget, .threads = 1});
    } catch (const Infeasible&) {
    }
    if (solution && solution->rerun_ns == 0) continue;  // nothing to prove
    const auto cheaper =
        Optimum(trace).search(budget.count(), solution ? solution->rerun_ns : kAny, kMostStates);
    if (!cheaper.complete) continue;
    if (!solution && !cheaper.ns) continue;  // there is no plan
    ++graphs;
    if (!solution) continue;
    exact += cheaper.ns ? 0 : 1;
    const std::int64_t least = solution->plain_ns + cheaper.ns.value_or(solution->rerun_ns);
    near += 100 * (solution->plain_ns + solution->rerun_ns) <= 103 * least ? 1 : 0;
  }
  std::printf("%d graphs: %d plans within 3 %% of the optimum, %d the optimum itself\n", graphs,
              near, exact);
  EXPECT_GE(100 * near, 95 * graphs);
}

}  // namespace
}  // namespace neap::planner
