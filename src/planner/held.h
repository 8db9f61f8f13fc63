// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/held.h: a step in which storages that cannot be remade, or cannot be from some operator
// on, stay until their release.
#pragma once

#include <neap/graph.h>

namespace neap::planner {

// A plan may free a storage after its last use, even while the program still holds it. neap cannot
// free a storage that nothing would restore. So the results of an operator that never runs again
// count as given here: they arrive after the operator, and are freed at their release. And what is
// made from a storage that is overwritten later, such as the loss from parameters, is read by the
// operator that overwrites it and by the last one before its release. Storages and operators keep
// their numbers. A plan for the result is a plan for `trace` too, with the same peak. Cost: linear,
// but for a logarithm.
graph::Trace with_what_is_held(const graph::Trace& trace);

}  // namespace neap::planner
