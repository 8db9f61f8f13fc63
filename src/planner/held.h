// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/held.h: a step as someone meets it who cannot take from the program what nothing would bring back.
#pragma once

#include <neap/graph.h>

namespace neap::planner {

// A plan may free a storage after its last use, also one that the program still holds; neap cannot free what nothing would bring
// back. So what an operator makes that never runs again counts as given: it arrives when the operator has run, and goes with
// its release. Storages and operators keep their numbers, and a plan for this is one for `trace`, with the same peak.
graph::Trace with_what_is_held(const graph::Trace& trace);

}  // namespace neap::planner
