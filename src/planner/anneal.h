// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/anneal.h: for small graphs, simulated annealing over all reruns, with schedules over the
// budget on the way.
#pragma once

#include "planner/deadline.h"
#include "planner/schedule.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace neap::planner {

// With more operators, too few of the possible changes are tried.
inline constexpr Index kMostAnnealed = 64;

// Returns the cheapest schedule found that fits. Cost: 20,000 changes, up to 60,000 while none
// fits; some us each. Ends at the deadline.
std::optional<std::vector<GroupRerun>> anneal(const Replays& replays, std::int64_t budget,
                                              std::uint64_t seed, const Deadline& deadline = {});
// Improves the schedule in place, with less heat. REQUIRES: it fits.
void anneal(Schedule& schedule, std::int64_t budget, std::uint64_t seed,
            const Deadline& deadline = {});

}  // namespace neap::planner
