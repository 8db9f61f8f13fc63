// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/lp_bound.h: a lower bound over all moments at once, in builds with COIN-OR's Clp.
#pragma once

#include "planner/replays.h"

#include <chrono>
#include <cstdint>
#include <optional>

namespace neap::planner {

// As recompute_bound(), by linear programming. nullopt: built without NEAP_CLP, or more than 300
// operators.
// Cost: 0.1 s for 100 operators, 5 s for 300. After `time_limit`, the result is what was found by
// then.
std::optional<std::int64_t> lp_bound(const Replays& replays, std::int64_t budget,
                                     std::chrono::milliseconds time_limit);

}  // namespace neap::planner
