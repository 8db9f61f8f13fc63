// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// policy/knapsack.h: which storages to keep in limited memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace neap::policy {

struct KnapsackItem {
  std::int64_t bytes = 0;
  double value = 0;
};

// Chooses the items to keep. Their bytes never exceed `room`, and their values have the largest
// sum. The choice is exact unless sizes have to be rounded up to room / kKnapsackCells bytes. Items
// without value are not kept.
// Cost: O(items x kKnapsackCells) time, and one bit of memory for each pair.
inline constexpr std::int64_t kKnapsackCells = 4096;
std::vector<bool> solve_knapsack(std::span<const KnapsackItem> items, std::int64_t room);

}  // namespace neap::policy
