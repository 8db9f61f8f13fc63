// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "graph/program.h"

#include <neap/planner.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace neap::planner {

Bytes allocator_room(Bytes budget) {
  constexpr std::int64_t kSlabs = std::int64_t{64} << 10;  // some pages of each size class
  return Bytes(budget.count() / 256 + std::min(kSlabs, budget.count() / 64));
}

Bytes budget_of_share(const graph::Trace& trace, double share) {
  if (!(share >= 0 && share <= 1)) {
    throw InvalidArgument("planner: a share of " + std::to_string(share) +
                          "; it must lie between 0 and 1");
  }
  const graph::Program program(trace);
  const std::int64_t head = program.head_bytes();
  const std::int64_t above = graph::plain_plan(trace).predicted_peak - head;
  return Bytes(head + static_cast<std::int64_t>(std::floor(share * static_cast<double>(above))));
}

}  // namespace neap::planner
