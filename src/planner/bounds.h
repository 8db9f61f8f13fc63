// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/bounds.h: lower bounds for every plan of a trace: the bytes of its peak, and the time of
// its reruns and of its waits for copies. They hold for all that graph::simulate() accepts, not
// only for what a Schedule expresses.
#pragma once

#include "planner/replays.h"

#include <cstdint>

namespace neap::planner {

struct Floor {
  std::int64_t bytes;
  // the operator that causes it; kNone: before the first; operators(): what is held at the end
  Index op;
};

// No plan has a smaller peak. Cost: one pass over the trace's lists, and some walks along them:
// 0.05 s for 100,000 operators.
Floor memory_floor(const Replays& replays);

// No plan inside the budget spends fewer ns in reruns, and with a tier, in waits for copies.
// Returns the largest number when it finds that there is no such plan: always below memory_floor(),
// and seldom above. A bound of one budget holds for any smaller one, but may not be found there.
// Cost: 0.1 s for 1,000 operators, below 1 s for 100,000: in a long trace it looks at fewer
// moments, which only weakens the bound.
// REQUIRES: the bytes of all storages, and the ns of all operators, are below 2^56 each.
std::int64_t recompute_bound(const Replays& replays, std::int64_t budget);

}  // namespace neap::planner
