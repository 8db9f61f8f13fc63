// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/portfolio.h"

#include "planner/local_search.h"
#include "planner/walk.h"

#include <array>

namespace neap::planner {
namespace {

using Reruns = std::optional<std::vector<Rerun>>;

Reruns dtr_eq(const Replays& replays, std::int64_t budget, std::uint64_t seed) {
  return walk(replays, budget, Rule::DtrEq, seed);
}
Reruns next_use(const Replays& replays, std::int64_t budget, std::uint64_t seed) {
  return walk(replays, budget, Rule::NextUse, seed);
}
Reruns next_use_eq(const Replays& replays, std::int64_t budget, std::uint64_t seed) {
  return walk(replays, budget, Rule::NextUseEq, seed);
}
// From the plain step: at the highest peak, what is cheapest goes, until no peak is too high.
Reruns peaks(const Replays& replays, std::int64_t budget, std::uint64_t seed) {
  Schedule schedule(replays);
  if (!LocalSearch(schedule, budget, seed).fit()) return {};
  return schedule.reruns();
}

}  // namespace

std::span<const Method> portfolio() {
  static constexpr std::array<Method, 4> kMethods{{
      {"dtr_eq", graph::kNever, dtr_eq},
      {"next_use", graph::kNever, next_use},
      {"next_use_eq", graph::kNever, next_use_eq},
      {"peaks", 3000, peaks},
  }};
  return kMethods;
}

}  // namespace neap::planner
