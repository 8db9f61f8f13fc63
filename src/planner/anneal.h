// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/anneal.h: for small graphs, any rerun in any stage by trial, over the budget too on the way.
#pragma once

#include "planner/deadline.h"
#include "planner/schedule.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace neap::planner {

// Above so many operators too little of what could change is tried.
inline constexpr Index kMostAnnealed = 64;

// The cheapest schedule met that fits. Cost: 20,000 changes, up to 60,000 while none fits; some us each. Ends at the deadline.
std::optional<std::vector<Rerun>> anneal(const Replays& replays, std::int64_t budget,
                                         std::uint64_t seed, const Deadline& deadline = {});
// The same from where the schedule is, with less heat. REQUIRES: it fits.
void anneal(Schedule& schedule, std::int64_t budget, std::uint64_t seed,
            const Deadline& deadline = {});

}  // namespace neap::planner
