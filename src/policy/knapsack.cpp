// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "policy/knapsack.h"

#include <algorithm>
#include <numeric>

namespace neap::policy {

std::vector<bool> solve_knapsack(std::span<const KnapsackItem> items, std::int64_t room) {
  std::vector<bool> kept(items.size(), false);
  std::vector<std::size_t> fitting;
  std::int64_t all = 0;
  std::int64_t unit = 0;  // the greatest common divisor of all sizes
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].value <= 0 || items[i].bytes > room) continue;
    fitting.push_back(i);
    all += items[i].bytes;
    unit = std::gcd(unit, items[i].bytes);
  }
  if (all <= room) {
    for (const std::size_t i : fitting) kept[i] = true;
    return kept;
  }
  // Exact in multiples of `unit`; coarser cells only when there would be too many. Sizes are
  // rounded up, so that the items fit the room.
  const std::int64_t cell = std::max(unit, (room + kKnapsackCells - 1) / kKnapsackCells);
  const auto cells = static_cast<std::size_t>(room / cell);
  std::vector<double> best(cells + 1, 0.0);
  std::vector<std::vector<bool>> taken(fitting.size(), std::vector<bool>(cells + 1, false));
  const auto width = [&](std::size_t i) {
    return static_cast<std::size_t>((items[i].bytes + cell - 1) / cell);
  };
  for (std::size_t n = 0; n < fitting.size(); ++n) {
    const std::size_t size = width(fitting[n]);
    const double value = items[fitting[n]].value;
    for (std::size_t at = cells; at >= size && at <= cells; --at) {
      if (best[at - size] + value <= best[at]) continue;
      best[at] = best[at - size] + value;
      taken[n][at] = true;
    }
  }
  std::int64_t left = room;
  std::size_t at = cells;
  for (std::size_t n = fitting.size(); n-- > 0;) {
    if (!taken[n][at]) continue;
    kept[fitting[n]] = true;
    at -= width(fitting[n]);
    left -= items[fitting[n]].bytes;
  }
  // Rounding may have left room for more items.
  std::ranges::stable_sort(fitting, std::ranges::greater{},
                           [&](std::size_t i) { return items[i].value; });
  for (const std::size_t i : fitting) {
    if (kept[i] || items[i].bytes > left) continue;
    kept[i] = true;
    left -= items[i].bytes;
  }
  return kept;
}

}  // namespace neap::policy
