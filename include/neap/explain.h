// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/explain.h: what a plan does with each storage of the peak, and why. For reports. Does not
// depend on LibTorch.
//
//   const neap::graph::Plan plan = neap::planner::solve(trace, {.budget = budget}).plan;
//   for (const neap::graph::Explanation& one : neap::graph::explain(trace, plan)) {
//     std::cout << one.bytes << ' ' << neap::graph::name_of(one.fate) << ": " << one.why << '\n';
//   }
//
// Units: bytes, ns. Threads: every type here is a value; there is no shared state.
#pragma once

#include <neap/timeline.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace neap::graph {

enum class Fate : std::uint8_t {
  Pinned,      // it cannot be made again
  Kept,        // it could be, and the plan leaves it where it is
  Recomputed,  // the plan frees it, and makes it again for a later operator
  Evicted,     // the plan frees it before the program drops it, and no operator reads it afterwards
  Offloaded    // the plan copies it to the tier, frees it, and loads it for a later operator
};
// "pinned", as the names above.
NEAP_EXPORT const char* name_of(Fate fate);

struct Explanation {
  StorageId storage = -1;
  std::int64_t bytes = 0;
  Category category = Category::Temporaries;
  std::string layer;  // as in Holder
  std::string maker;  // as in Holder
  Fate fate = Fate::Kept;
  bool at_plain_peak = false;  // it is there at the peak of the plain step
  bool at_peak = false;        // it is there at the peak of the plan
  // Of the operators that make it and write into it, once; absent: it is pinned. What they read may
  // have to be made again too.
  std::optional<std::int64_t> remake_ns = {};
  std::int64_t times = 0;  // that the plan makes it again
  std::int64_t loads = 0;  // that the plan loads it from the tier
  std::string why = {};    // "freed after aten::gelu in the forward; made again for ..."
};

// All storages that are there at the peak of the plain step or at that of the plan, the largest
// first. Cost: linear. Throws: as simulate().
NEAP_EXPORT std::vector<Explanation> explain(const Trace& trace, const Plan& plan);

}  // namespace neap::graph
