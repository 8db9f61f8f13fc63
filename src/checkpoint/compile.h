// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint/compile.h: from a trace and its plan to what the engine follows.
#pragma once

#include "engine/planned_step.h"

#include <neap/graph.h>

#include <cstdint>
#include <vector>

namespace neap::checkpointing {

// The same step for the planner. A plan may free a storage after its last use, also one that the program still holds; the
// engine cannot free what nothing would bring back. So what an operator makes that never runs again counts as given: it arrives
// when the operator has run, and goes with its release. Storages and operators keep their numbers.
graph::Trace with_what_is_held(const graph::Trace& trace);

// `room`: bytes on top of the plan's peak, for what the allocator takes beyond the storages. `numbers`: the engine's, of each
// storage; the trace may have more of them, that no operator uses. `calls`: see PlannedStep.
// REQUIRES: graph::simulate() accepts the plan. Cost: linear.
engine::PlannedStep compile(const graph::Trace& trace, const graph::Plan& plan, std::int64_t room,
                            const std::vector<std::uint32_t>& numbers,
                            std::vector<std::uint64_t> calls);

}  // namespace neap::checkpointing
