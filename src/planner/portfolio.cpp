// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/portfolio.h"

#include "planner/anneal.h"
#include "planner/local_search.h"
#include "planner/segments.h"
#include "planner/walk.h"

#include <algorithm>
#include <array>
#include <utility>

namespace neap::planner {
namespace {

using Reruns = std::optional<std::vector<GroupRerun>>;

Reruns dtr_eq(const Problem& problem) {
  return walk(problem.replays, problem.budget, Rule::DtrEq, problem.seed);
}
Reruns next_use(const Problem& problem) {
  return walk(problem.replays, problem.budget, Rule::NextUse, problem.seed);
}
Reruns next_use_eq(const Problem& problem) {
  return walk(problem.replays, problem.budget, Rule::NextUseEq, problem.seed);
}
// With `returns`: see planner/walk.h.
template <Rule kRule>
Reruns returning(const Problem& problem) {
  return walk(problem.replays, problem.budget, kRule, problem.seed, /*returns=*/true);
}
// From the plain step: frees what is cheapest at the highest peak, until no peak is too high.
Reruns peaks(const Problem& problem) {
  Schedule schedule(problem.replays);
  if (!LocalSearch(schedule, problem.budget, problem.seed, problem.deadline).fit()) return {};
  return schedule.reruns();
}
Reruns of_chen(const Problem& problem) {
  return chen(problem.trace, problem.replays, problem.budget);
}
Reruns of_knapsack(const Problem& problem) {
  return knapsack(problem.trace, problem.replays, problem.budget);
}
Reruns of_rotor(const Problem& problem) {
  return rotor(problem.trace, problem.replays, problem.budget);
}
Reruns of_anneal(const Problem& problem) {
  return anneal(problem.replays, problem.budget, problem.seed, problem.deadline);
}

// Starts from plans for a budget that is larger by kPercent of what the plain step needs, and then
// frees what is cheapest, peak by peak. Near the floor, a rule that looks at one moment uses up
// what it needs at the next. A plan with a little more room is near one without it.
template <std::int64_t kPercent>
Reruns from_above(const Problem& problem) {
  if (problem.deadline.has_passed()) return {};
  Schedule plain(problem.replays);
  const std::int64_t above = plain.peak() - problem.replays.program().head_bytes();
  Problem easier = problem;
  easier.budget += above * kPercent / 100;
  if (easier.budget >= plain.peak()) return {};
  std::vector<std::pair<std::int64_t, std::vector<GroupRerun>>> plans;
  for (const auto find : {next_use, next_use_eq, dtr_eq, of_chen, of_knapsack, of_rotor}) {
    Reruns reruns = find(easier);
    if (!reruns) continue;
    const std::int64_t ns = ns_of(problem.replays, *reruns);
    plans.emplace_back(ns, std::move(*reruns));
  }
  std::ranges::stable_sort(plans, {}, &std::pair<std::int64_t, std::vector<GroupRerun>>::first);
  constexpr std::size_t kTried = 2;
  if (plans.size() > kTried) plans.resize(kTried);
  Reruns best;
  std::int64_t best_ns = 0;
  for (const auto& [ns, reruns] : plans) {
    if (ns > kMostTimesBest * plans.front().first) break;
    Schedule schedule(problem.replays);
    for (const GroupRerun one : reruns) schedule.add(one);
    LocalSearch search(schedule, problem.budget, problem.seed, problem.deadline);
    if (!search.fit()) continue;
    search.tidy();
    if (best && best_ns <= schedule.cost()) continue;
    best = schedule.reruns();
    best_ns = schedule.cost();
  }
  return best;
}

constexpr Index kMostFromAbove = 6000;

}  // namespace

std::span<const Method> portfolio() {
  static constexpr std::array<Method, 15> kMethods{{
      {"dtr_eq", graph::kNever, dtr_eq, false, true},
      {"next_use", graph::kNever, next_use, false, true},
      {"next_use_eq", graph::kNever, next_use_eq, false, true},
      {"dtr_eq returning", graph::kNever, returning<Rule::DtrEq>, true},
      {"next_use returning", graph::kNever, returning<Rule::NextUse>, true},
      {"next_use_eq returning", graph::kNever, returning<Rule::NextUseEq>, true},
      {"peaks", 3000, peaks},
      {"chen", graph::kNever, of_chen, false, true},
      {"knapsack", graph::kNever, of_knapsack, false, true},
      {"rotor", graph::kNever, of_rotor, false, true},
      {"from 2 % above", kMostFromAbove, from_above<2>},
      {"from 4 % above", kMostFromAbove, from_above<4>},
      {"from 8 % above", kMostFromAbove, from_above<8>},
      {"from 16 % above", kMostFromAbove, from_above<16>},
      {"anneal", kMostAnnealed, of_anneal},
  }};
  return kMethods;
}

}  // namespace neap::planner
