// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// policy/knapsack.h: which storages to keep in a limited room.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace neap::policy {

struct KnapsackItem {
  std::int64_t bytes = 0;
  double value = 0;
};

// Which items to keep: their bytes never pass `room`, and their values add up to the most, exactly for as long as the
// bytes that are told apart (room / kKnapsackCells) are not coarser than the items need. Items without value stay out.
// Cost: O(items x kKnapsackCells) time, one bit of memory for each.
inline constexpr std::int64_t kKnapsackCells = 4096;
std::vector<bool> solve_knapsack(std::span<const KnapsackItem> items, std::int64_t room);

}  // namespace neap::policy
