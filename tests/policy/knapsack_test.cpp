// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "policy/knapsack.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace neap::policy {
namespace {

TEST(Knapsack, is_as_good_as_the_best_of_all_choices) {
  EXPECT_TRUE(rc::check([] {
    const auto sizes = *rc::gen::container<std::vector<int>>(rc::gen::inRange(1, 60));
    const std::size_t count = std::min<std::size_t>(sizes.size(), 12);
    std::vector<KnapsackItem> items;
    for (std::size_t i = 0; i < count; ++i) {
      items.push_back({64 * sizes[i], static_cast<double>(*rc::gen::inRange(0, 1000))});
    }
    const std::int64_t room = 64 * *rc::gen::inRange(0, 400);
    const std::vector<bool> kept = solve_knapsack(items, room);
    std::int64_t bytes = 0;
    double value = 0, best = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (!kept[i]) continue;
      bytes += items[i].bytes;
      value += items[i].value;
    }
    for (unsigned choice = 0; choice < (1U << count); ++choice) {
      std::int64_t its_bytes = 0;
      double its_value = 0;
      for (std::size_t i = 0; i < count; ++i) {
        if ((choice >> i & 1U) == 0) continue;
        its_bytes += items[i].bytes;
        its_value += items[i].value;
      }
      if (its_bytes <= room) best = std::max(best, its_value);
    }
    RC_ASSERT(bytes <= room);
    RC_ASSERT(value == best);
  }));
}

TEST(Knapsack, never_passes_the_room_where_bytes_are_told_apart_coarsely) {
  std::vector<KnapsackItem> items;
  std::int64_t all = 0;
  for (int i = 0; i < 300; ++i) {
    items.push_back({1000003 + i * 7919, 1.0 + i % 13});
    all += items.back().bytes;
  }
  for (int share = 1; share < 10; ++share) {
    const std::int64_t room = all * share / 10;
    const std::vector<bool> kept = solve_knapsack(items, room);
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < items.size(); ++i) bytes += kept[i] ? items[i].bytes : 0;
    EXPECT_LE(bytes, room);
    EXPECT_GT(bytes, room * 9 / 10);
  }
}

}  // namespace
}  // namespace neap::policy
