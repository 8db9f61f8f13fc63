// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/late_frees.h: delays the frees of a plan where there is room.
//
// A plan frees a storage after its last use, even while the program still holds it. Following that
// plan means to take the storage from the program, which costs more than to wait until the program
// drops it. It gains nothing where there is room.
#pragma once

#include <neap/graph.h>

#include <cstdint>

namespace neap::planner {

// Returns the plan in which the last free of each storage moves to its release (and disappears when
// it has none), as far as no moment then takes more than `limit` bytes. Reruns, copies
// and time stay the same, but for waits that are no more; the peak and the time are updated.
// REQUIRES: graph::simulate() accepts the plan with a peak of at most `limit`. Cost: O(n log n) for
// n steps.
graph::Plan free_late(const graph::Trace& trace, graph::Plan plan, std::int64_t limit);

}  // namespace neap::planner
