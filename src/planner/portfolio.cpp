// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/portfolio.h"

#include "planner/anneal.h"
#include "planner/local_search.h"
#include "planner/segments.h"
#include "planner/walk.h"

#include <array>

namespace neap::planner {
namespace {

using Reruns = std::optional<std::vector<Rerun>>;

Reruns dtr_eq(const graph::Trace& /*trace*/, const Replays& replays, std::int64_t budget,
              std::uint64_t seed) {
  return walk(replays, budget, Rule::DtrEq, seed);
}
Reruns next_use(const graph::Trace& /*trace*/, const Replays& replays, std::int64_t budget,
                std::uint64_t seed) {
  return walk(replays, budget, Rule::NextUse, seed);
}
Reruns next_use_eq(const graph::Trace& /*trace*/, const Replays& replays, std::int64_t budget,
                   std::uint64_t seed) {
  return walk(replays, budget, Rule::NextUseEq, seed);
}
// From the plain step: at the highest peak, what is cheapest goes, until no peak is too high.
Reruns peaks(const graph::Trace& /*trace*/, const Replays& replays, std::int64_t budget,
             std::uint64_t seed) {
  Schedule schedule(replays);
  if (!LocalSearch(schedule, budget, seed).fit()) return {};
  return schedule.reruns();
}

Reruns of_chen(const graph::Trace& trace, const Replays& replays, std::int64_t budget,
               std::uint64_t /*seed*/) {
  return chen(trace, replays, budget);
}
Reruns of_knapsack(const graph::Trace& trace, const Replays& replays, std::int64_t budget,
                   std::uint64_t /*seed*/) {
  return knapsack(trace, replays, budget);
}
Reruns of_rotor(const graph::Trace& trace, const Replays& replays, std::int64_t budget,
                std::uint64_t /*seed*/) {
  return rotor(trace, replays, budget);
}
Reruns of_anneal(const graph::Trace& /*trace*/, const Replays& replays, std::int64_t budget,
                 std::uint64_t seed) {
  return anneal(replays, budget, seed);
}

}  // namespace

std::span<const Method> portfolio() {
  static constexpr std::array<Method, 8> kMethods{{
      {"dtr_eq", graph::kNever, dtr_eq},
      {"next_use", graph::kNever, next_use},
      {"next_use_eq", graph::kNever, next_use_eq},
      {"peaks", 3000, peaks},
      {"chen", graph::kNever, of_chen},
      {"knapsack", graph::kNever, of_knapsack},
      {"rotor", graph::kNever, of_rotor},
      {"anneal", kMostAnnealed, of_anneal},
  }};
  return kMethods;
}

}  // namespace neap::planner
