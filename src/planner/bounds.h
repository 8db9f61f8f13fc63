// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/bounds.h: what no plan of a trace can do, whoever finds it: bytes below which it cannot pass, and time that it must
// spend twice. Of all that graph::simulate() accepts, not only of what a Schedule expresses.
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
