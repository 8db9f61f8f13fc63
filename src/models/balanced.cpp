// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "models/balanced.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace neap::models {
namespace {

// before[i]: the sum of the first i costs.
std::vector<std::int64_t> sums_before(const std::vector<std::int64_t>& costs) {
  std::vector<std::int64_t> before(costs.size() + 1, 0);
  for (std::size_t i = 0; i < costs.size(); ++i) before[i + 1] = before[i] + costs[i];
  return before;
}

// The smallest bound under which filling one run after the other needs `segments` of them at most.
std::int64_t smallest_largest_run(const std::vector<std::int64_t>& costs, std::int64_t segments) {
  const auto fits = [&](std::int64_t bound) {
    std::int64_t runs = 1, sum = 0;
    for (const std::int64_t cost : costs) {
      if (sum + cost > bound) {
        ++runs;
        sum = 0;
      }
      sum += cost;
    }
    return runs <= segments;
  };
  std::int64_t low = *std::ranges::max_element(costs), high = sums_before(costs).back();
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (fits(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace

std::vector<std::int64_t> balanced_ends(const std::vector<std::int64_t>& costs,
                                        std::int64_t segments) {
  const std::int64_t largest = smallest_largest_run(costs, segments);
  const std::vector<std::int64_t> before = sums_before(costs);
  const std::size_t count = costs.size(), runs = static_cast<std::size_t>(segments);
  constexpr double kNever = std::numeric_limits<double>::infinity();
  // Of the first i costs in so many runs as the row says: the smallest sum of squares, and where the last run begins.
  // Squares of bytes pass an integer.
  std::vector<std::vector<double>> squares(runs + 1, std::vector<double>(count + 1, kNever));
  std::vector<std::vector<std::size_t>> begins(runs + 1, std::vector<std::size_t>(count + 1, 0));
  squares[0][0] = 0;
  for (std::size_t run = 1; run <= runs; ++run) {
    for (std::size_t end = run; end <= count; ++end) {
      for (std::size_t begin = run - 1; begin < end; ++begin) {
        const std::int64_t sum = before[end] - before[begin];
        if (sum > largest) continue;
        const double total =
            squares[run - 1][begin] + static_cast<double>(sum) * static_cast<double>(sum);
        // On a tie the later begin: the shorter last run.
        if (total <= squares[run][end] && total < kNever) {
          squares[run][end] = total;
          begins[run][end] = begin;
        }
      }
    }
  }
  std::vector<std::int64_t> ends(runs);
  std::size_t end = count;
  for (std::size_t run = runs; run > 0; --run) {
    ends[run - 1] = static_cast<std::int64_t>(end);
    end = begins[run][end];
  }
  return ends;
}

}  // namespace neap::models
