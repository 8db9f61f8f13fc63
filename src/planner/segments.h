// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/segments.h: schedules from the shape of a training step: what its forward leaves for its
// backward.
#pragma once

#include "planner/schedule.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace neap::planner {

// Each returns reruns that fit the budget, and is deterministic. nullopt: it found none, or the
// trace has no forward with a backward. Cost for 100,000 operators: some dozen schedules, under
// 1 s; of rotor, under 3 s.

// Cuts each forward where little crosses, keeps that, and reruns each segment as a whole when its
// backward begins: "Training Deep Nets with Sublinear Memory Cost", Chen et al., arXiv 1604.06174.
// Tries several segment sizes, sqrt(n) segments among them, and takes the one with the lowest peak.
// Then it reruns as few segments as the budget allows.
std::optional<std::vector<GroupRerun>> chen(const graph::Trace& trace, const Replays& replays,
                                            std::int64_t budget);

// Keeps what is expensive to recompute, by ns a byte, and remakes the rest just before the backward
// needs it: a fractional knapsack of what lives at the turn.
std::optional<std::vector<GroupRerun>> knapsack(const graph::Trace& trace, const Replays& replays,
                                                std::int64_t budget);

// Treats each forward, with its backward, as a chain of blocks (Note [Blocks]) and takes the best
// schedule of that chain (planner/chain.h), over several ways to cut it.
std::optional<std::vector<GroupRerun>> rotor(const graph::Trace& trace, const Replays& replays,
                                             std::int64_t budget);

}  // namespace neap::planner
