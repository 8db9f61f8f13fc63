// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint/compile.h: from a trace and its plan to what the engine follows.
#pragma once

#include "engine/planned_step.h"

#include <neap/graph.h>

#include <cstdint>
#include <vector>

namespace neap::checkpointing {

// `room`: bytes on top of the plan's peak, for what the allocator takes beyond the storages. `numbers`: the engine's, of each
// storage; the trace may have more of them, that no operator uses. `calls`: see PlannedStep.
// REQUIRES: graph::simulate() accepts the plan. Cost: linear.
engine::PlannedStep compile(const graph::Trace& trace, const graph::Plan& plan, std::int64_t room,
                            const std::vector<std::uint32_t>& numbers,
                            std::vector<std::uint64_t> calls);

// From what the plan itself foresees of the step: its storages have the engine's numbers.
// Throws: InvalidArgument for a plan that contradicts itself. It may still break the rules of its trace, which is not at hand: then
// the engine does what it can, as with any plan. REQUIRES: plan.operators is not empty.
engine::PlannedStep compile(const graph::Plan& plan, std::int64_t room);

}  // namespace neap::checkpointing
