// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// free_late() keeps the reruns and the limit, and frees nothing early that could have stayed.
#include "planner/late_frees.h"

#include "bench/traces/generators.h"
#include "graph/random_plans.h"
#include "graph/random_traces.h"

#include <neap/planner.h>

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <vector>

namespace neap::planner {
namespace {

using graph::Plan;
using graph::Step;
using graph::StorageId;
using graph::Trace;
using Action = Step::Action;

// For each storage that an operator makes: the operator after which the program lets go of it, or
// -1 for never.
std::map<StorageId, std::int64_t> releases_of(const Trace& trace) {
  std::map<StorageId, std::int64_t> releases;
  std::int64_t ran = 0;
  for (const graph::Event& event : trace.events) {
    if (const auto* const op = std::get_if<graph::Operator>(&event)) {
      for (const graph::Made& made : op->makes) releases[made.storage] = -1;
      ++ran;
    } else if (const auto* const release = std::get_if<graph::Release>(&event)) {
      if (releases.contains(release->storage)) releases[release->storage] = ran - 1;
    }
  }
  return releases;
}

// The frees of made storages that the program still holds, by their place in the plan.
std::map<std::size_t, StorageId> early_frees(const Trace& trace, const Plan& plan) {
  const auto releases = releases_of(trace);
  std::map<std::size_t, StorageId> early;
  std::int64_t ran = 0;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    if (step.action == Action::Run) ++ran;
    if (step.action != Action::Free) continue;
    const auto release = releases.find(step.target);
    if (release == releases.end()) continue;
    if (release->second < 0 || release->second >= ran) early[i] = step.target;
  }
  return early;
}

// Storages that are brought back later, or of which an older version was brought back at any time.
std::set<StorageId> left_alone(const Trace& trace, const Plan& plan, std::size_t from) {
  std::set<StorageId> written;
  std::vector<const graph::Operator*> operators;
  for (const graph::Event& event : trace.events) {
    const auto* const op = std::get_if<graph::Operator>(&event);
    if (op == nullptr) continue;
    operators.push_back(op);
    written.insert(op->mutates.begin(), op->mutates.end());
    written.insert(op->mutates_once.begin(), op->mutates_once.end());
  }
  std::set<StorageId> result;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    if (plan.steps[i].action != Action::Rerun) continue;
    const graph::Operator& op = *operators[static_cast<std::size_t>(plan.steps[i].target)];
    for (const graph::Made& made : op.makes) {
      if (i > from || written.contains(made.storage)) result.insert(made.storage);
    }
    result.insert(op.mutates.begin(), op.mutates.end());
  }
  return result;
}

// The plan with the free at `from` moved to directly after the release, or dropped if there is no
// release.
Plan with_one_late(const Trace& trace, const Plan& plan, std::size_t from) {
  const StorageId storage = plan.steps[from].target;
  const std::int64_t release = releases_of(trace).at(storage);
  Plan changed = plan;
  changed.steps.clear();
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    if (i != from) changed.steps.push_back(plan.steps[i]);
    if (plan.steps[i] == Step{Action::Run, release}) {
      changed.steps.push_back({Action::Free, storage});
    }
  }
  return changed;
}

TEST(LateFrees, change_no_rerun_stay_in_the_limit_and_leave_no_free_early_that_could_be_late) {
  std::mt19937_64 random(11);
  std::size_t before = 0, after = 0;
  for (int round = 0; round < 1500; ++round) {
    const Trace trace = graph::random_trace(random, {.operators = 2 + graph::below(random, 14)});
    const Plan plan = graph::random_plan(random, trace, {.frees = 10 + graph::below(random, 80)});
    const graph::Outcome outcome = graph::simulate(trace, plan);
    const std::int64_t limit = outcome.peak + graph::below(random, 2) * graph::below(random, 200);
    const Plan late = free_late(trace, plan, limit);
    ASSERT_NO_THROW(graph::simulate(trace, late)) << round;
    const graph::Outcome now = graph::simulate(trace, late);
    EXPECT_LE(now.peak, limit) << round;
    EXPECT_GE(now.peak, outcome.peak) << round;
    EXPECT_EQ(now.peak, late.predicted_peak) << round;
    EXPECT_EQ(now.reruns, outcome.reruns) << round;
    EXPECT_EQ(now.ns, outcome.ns) << round;
    before += early_frees(trace, plan).size();
    const auto early = early_frees(trace, late);
    after += early.size();
    for (const auto& [at, storage] : early) {
      if (left_alone(trace, late, at).contains(storage)) continue;
      EXPECT_GT(graph::simulate(trace, with_one_late(trace, late, at)).peak, limit)
          << round << ": " << storage;
    }
  }
  EXPECT_GT(before, 1000U);
  EXPECT_LT(after + 1000, before);
}

TEST(LateFrees, go_with_the_release_where_the_budget_is_no_matter) {
  for (const std::string_view family : bench::families()) {
    const Trace trace = bench::make_trace(family, 300, 1);
    const Plan plan = solve(trace, {.budget = budget_of_share(trace, 1)}).plan;
    const Plan late = free_late(trace, plan, plan.budget);
    EXPECT_NO_THROW(graph::verify(trace, late)) << family;
    EXPECT_EQ(early_frees(trace, late).size(), 0U) << family;
  }
}

TEST(LateFrees, take_the_room_for_what_needs_the_least_of_it) {
  // Nobody uses the two results. The last operator leaves room for one of them.
  Trace trace;
  const auto op = [&](StorageId makes, std::int64_t bytes) {
    trace.events.emplace_back(graph::Operator{.name = "make", .makes = {{makes, bytes}}, .ns = 1});
  };
  op(0, 30);
  op(1, 20);
  op(2, 60);
  trace.keep = {2};
  Plan plan;
  plan.steps = {
      {Action::Run, 0}, {Action::Free, 0}, {Action::Run, 1}, {Action::Free, 1}, {Action::Run, 2}};
  ASSERT_EQ(graph::simulate(trace, plan).peak, 60);
  EXPECT_EQ(free_late(trace, plan, 60).steps, plan.steps) << "no room at all";
  const std::vector<Step> expected{
      {Action::Run, 0}, {Action::Free, 0}, {Action::Run, 1}, {Action::Run, 2}};
  EXPECT_EQ(free_late(trace, plan, 85).steps, expected);
}

}  // namespace
}  // namespace neap::planner
