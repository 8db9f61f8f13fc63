// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/compile.h: turns a trace and its plan into what the engine follows.
#pragma once

#include "autoplan/planned_step.h"

#include <neap/graph.h>

#include <cstdint>
#include <vector>

namespace neap::autoplan {

// `room`: bytes on top of the plan's peak, for what the allocator takes beyond the storages.
// `numbers`: the engine's number of each storage. The trace may have more storages than that, which
// no operator uses. `calls`: see PlannedStep. REQUIRES: graph::simulate() accepts the plan. Cost:
// linear.
PlannedStep compile(const graph::Trace& trace, const graph::Plan& plan, std::int64_t room,
                    const std::vector<std::uint32_t>& numbers, std::vector<std::uint64_t> calls);

// Uses only what the plan itself says about the step; its storages have the engine's numbers.
// Throws: InvalidArgument for a plan that contradicts itself. The plan may still break the rules of
// its trace, which is not known here. Then the engine does what it can, as with any plan. REQUIRES:
// plan.operators is not empty.
PlannedStep compile(const graph::Plan& plan, std::int64_t room);

}  // namespace neap::autoplan
