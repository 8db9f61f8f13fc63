// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/walk.h: simulates the step once from start to end inside a budget. It evicts by a rule,
// and remakes what is missing, as an online engine would. Searches start from the result.
#pragma once

#include "planner/schedule.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace neap::planner {

enum class Rule : std::uint8_t {
  // h_DTR^eq of "Dynamic Tensor Rematerialization", Kirisame et al., arXiv 2006.09616: the time to
  // restore it with its evicted neighbours, divided by its bytes and by the time since its last
  // use. Does not use the future.
  DtrEq,
  // The time to restore it, divided by its bytes and by the time to its next use.
  NextUse,
  // The same with its evicted neighbours: for budgets so small that storages are evicted more than
  // once.
  NextUseEq,
};

// The reruns of such a walk; nullopt when nothing more could be evicted, or a rerun was not
// possible. A storage that is made from contents that are overwritten before its next use is never
// evicted. With `returns` it may be evicted, and is restored just before they are overwritten.
// Cost: O(evictions * candidates); with more than 512 candidates, a sample of 512.
std::optional<std::vector<GroupRerun>> walk(const Replays& replays, std::int64_t budget, Rule rule,
                                            std::uint64_t seed, bool returns = false);

}  // namespace neap::planner
