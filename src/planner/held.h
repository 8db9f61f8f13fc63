// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/held.h: a step in which storages that cannot be remade stay until their release.
#pragma once

#include <neap/graph.h>

namespace neap::planner {

// A plan may free a storage after its last use, even while the program still holds it. neap cannot
// free a storage that nothing would restore. So the results of an operator that never runs again
// count as given here: they arrive after the operator, and are freed at their release. Storages and
// operators keep their numbers. A plan for the result is a plan for `trace` too, with the same
// peak.
graph::Trace with_what_is_held(const graph::Trace& trace);

}  // namespace neap::planner
