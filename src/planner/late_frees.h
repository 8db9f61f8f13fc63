// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/late_frees.h: what need not go yet stays.
//
// A plan frees a storage after its last use, also while the program still holds it. Whoever follows the plan has to take it from the
// program then, which costs more than to let it go when the program does, and is of no use where bytes are not short.
#pragma once

#include <neap/graph.h>

#include <cstdint>

namespace neap::planner {

// The same plan, with what is not brought back any more freed when the program lets go of it (never, when it does not), as far as no
// moment then takes more than `limit` bytes. Reruns and time stay; the peak is what it is then.
// REQUIRES: graph::simulate() accepts the plan and finds no peak above the limit. Cost: O(n log n) for n steps.
graph::Plan free_late(const graph::Trace& trace, graph::Plan plan, std::int64_t limit);

}  // namespace neap::planner
