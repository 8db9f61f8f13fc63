// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/segments.h: schedules that follow from the shape of a training step: what its forward leaves for its backward.
#pragma once

#include "planner/schedule.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace neap::planner {

// Each returns reruns that fit the budget, the same for the same arguments; nothing: it knows none, or the trace has no forward
// with a backward. Cost for 100,000 operators: some dozen schedules, under 1 s; of rotor, under 3 s.

// Cuts each forward where little crosses, keeps that, and runs each segment again as a whole when its backward begins: "Training
// Deep Nets with Sublinear Memory Cost", Chen et al., arXiv 1604.06174. Segments are as large as leaves the lowest
// peak, sqrt(n) of them among what is tried; then as few of them run again as the budget allows.
std::optional<std::vector<Rerun>> chen(const graph::Trace& trace, const Replays& replays,
                                       std::int64_t budget);

// Keeps what is dear to make again, by ns a byte, and makes the rest just before the backward needs it: a fractional knapsack
// of what lives at the turn.
std::optional<std::vector<Rerun>> knapsack(const graph::Trace& trace, const Replays& replays,
                                           std::int64_t budget);

// Takes each forward for a chain of blocks, Note [Blocks], and its backward with it: the best schedule of that chain, planner/chain.h,
// of several ways to cut it.
std::optional<std::vector<Rerun>> rotor(const graph::Trace& trace, const Replays& replays,
                                        std::int64_t budget);

}  // namespace neap::planner
