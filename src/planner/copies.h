// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/copies.h: which storages neap's engine can copy to a tier while a step runs.
#pragma once

#include "graph/program.h"

#include <vector>

namespace neap::planner {

// By storage of `program`: the first operator before which it may come back from the tier; kNever:
// none. See Note [Copies] in engine/block_copies.h. The engine copies nothing below a page, and of
// what no operator of the step makes only parameters, gradients and the optimizer's state: the
// program may hold the address of the rest. It learns of these when an operator uses them, so only
// after that they can be away. `asked`: the step before with_what_is_held(), where what operators
// make is not given.
std::vector<graph::Index> first_loads(const graph::Program& program, const graph::Trace& asked);

}  // namespace neap::planner
