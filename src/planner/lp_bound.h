// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/lp_bound.h: a bound that looks at all moments at once, where neap is built with COIN-OR's Clp.
#pragma once

#include "planner/replays.h"

#include <chrono>
#include <cstdint>
#include <optional>

namespace neap::planner {

// As recompute_bound(), by linear programming. Nothing: built without NEAP_CLP, or more than 300 operators.
// Cost: 0.1 s of 100 operators, 5 s of 300; what has been found by `time_limit` counts.
std::optional<std::int64_t> lp_bound(const Replays& replays, std::int64_t budget,
                                     std::chrono::milliseconds time_limit);

}  // namespace neap::planner
