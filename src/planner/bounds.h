// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/bounds.h: what no plan of a trace can do, whoever finds it: bytes below which it cannot pass, and time that it must
// spend twice. Of all that graph::simulate() accepts, not only of what a Schedule expresses.
//
// Note [Certain]
// Moment t is the run of operator t: every plan has it once, and the operators before it have run by then. Moment
// operators() is the end. What is there at a moment:
//   * given storages that have come and are not released, or are kept;
//   * what operator t needs, what it makes, and the larger of its workspace and what arrives right after it, before anything
//     may be freed;
//   * what the program needs later and nothing can bring back: to come back after t, the maker and every writer before t must
//     run again after t, and one of them never does, or reads a given storage at a version that was overwritten.
// The rest of what the program needs later is there, or its maker and its writers before t run again after t and before
// that use. What these read is in turn there at moment t, or its maker runs again after t; a given storage that is gone
// does not come back, so that one is there. Nothing is claimed of the order or the place of reruns, nor of the version at which
// a storage is there: what is there at any version counts as of use.
#pragma once

#include "planner/replays.h"

#include <cstdint>

namespace neap::planner {

struct Floor {
  std::int64_t bytes;
  Index op;  // whose run makes it; kNone: before the first; operators(): what is held at the end
};

// No plan has a smaller peak. Cost: that of the trace's lists, and of some walks along them: 0.05 s of 100,000 operators.
Floor memory_floor(const Replays& replays);

// No plan inside the budget spends fewer ns in reruns. The largest number there is where it is seen that there is no such plan:
// below memory_floor(), and seldom above. What is true of a budget is true of any smaller one, but need not be found there.
// Cost: 0.1 s of 1,000 operators, below 1 s of 100,000: of a long trace it looks at fewer moments, which weakens it and no more.
// REQUIRES: the bytes of all storages, and the ns of all operators, are below 2^56 each.
std::int64_t recompute_bound(const Replays& replays, std::int64_t budget);

}  // namespace neap::planner
