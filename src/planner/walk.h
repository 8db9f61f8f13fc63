// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/walk.h: a step taken once from its first operator to its last, inside a budget: what is in the way goes, by a rule; what is
// missing is made again. How an on-line engine would fare, and where searches start.
#pragma once

#include "planner/schedule.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace neap::planner {

enum class Rule : std::uint8_t {
  // h_DTR^eq of "Dynamic Tensor Rematerialization", Kirisame et al., arXiv 2006.09616: time to bring it and its gone
  // neighbours back, by bytes and by the time since its last use. Knows nothing of the future.
  DtrEq,
  // Time to bring it back, by bytes and by the time to its next use.
  NextUse,
  // The same with its gone neighbours: for budgets so small that they go more than once.
  NextUseEq,
};

// The reruns of such a walk; nothing when the rule led to where nothing more can go. What is made from contents that are overwritten
// before its next use stays from where it is made; with `returns`, it may go, and comes back right before they are overwritten.
// Cost: O(evictions * candidates), of many candidates a sample of 512.
std::optional<std::vector<Rerun>> walk(const Replays& replays, std::int64_t budget, Rule rule,
                                       std::uint64_t seed, bool returns = false);

}  // namespace neap::planner
