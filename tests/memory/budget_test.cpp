// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// How the allocator stays inside a budget. It releases cached blocks, moves cached pages to where
// they are needed, asks the engine to evict, and refuses the rest.
#include "memory/allocator.h"
#include "memory/blocks.h"
#include "memory/held_pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace neap::test {
namespace {

bool system_tells_pages() {
  const char here = 0;
  return test::held_pages(&here, 4096).has_value();
}
// The pages of a block that the system holds; -1: the system does not tell.
std::int64_t held(const c10::DataPtr& block, std::int64_t bytes) {
  return test::held_pages(static_cast<const char*>(block.get()), bytes).value_or(-1);
}

TEST_F(Allocator, trim_gives_pages_back_to_the_system) {
  if (!system_tells_pages()) GTEST_SKIP() << "this system has no /proc/self/pagemap";
  constexpr std::int64_t kBytes = 16 << 20;
  const char* start = nullptr;
  {
    const c10::DataPtr block = take(kBytes);
    std::memset(block.get(), 1, kBytes);
    start = static_cast<char*>(block.get());
  }
  EXPECT_EQ(test::held_pages(start, kBytes), kBytes / 4096);
  memory::trim();
  EXPECT_EQ(test::held_pages(start, kBytes), 0);
}

bool system_moves_pages() {
  const auto map = [] {
    return mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  };
  void* const from = map();
  void* const to = map();
  const bool moved =
      mremap(from, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) != MAP_FAILED;
  munmap(from, 4096);
  munmap(to, 4096);
  return moved;
}

// Every other block is free. No free run is large enough, but there are enough cached pages.
TEST_F(Allocator, moves_cached_pages_to_where_they_fit_when_the_budget_is_full) {
  if (!system_moves_pages()) GTEST_SKIP() << "this system has no MREMAP_DONTUNMAP";
  constexpr std::int64_t kBytes = 1 << 20;
  constexpr std::int64_t kBlocks = 16;
  memory::set_budget(memory::usage().reserved + kBlocks * memory::footprint(kBytes));
  std::vector<c10::DataPtr> blocks;
  for (int i = 0; i < kBlocks; ++i) {
    blocks.push_back(take(kBytes));
    std::memset(blocks.back().get(), i, kBytes);
  }
  for (std::size_t i = 0; i < kBlocks; i += 2) blocks[i].clear();
  constexpr std::int64_t kLarge = kBytes * kBlocks / 2;
  {
    const c10::DataPtr large = take(kLarge);
    if (system_tells_pages()) {
      EXPECT_EQ(held(large, kLarge), kLarge / 4096) << "a fresh page is there once it is written";
    }
    std::memset(large.get(), 0xff, kLarge);
    EXPECT_EQ(memory::usage().peak_reserved, *memory::budget());
    for (std::size_t i = 1; i < kBlocks; i += 2) {
      const auto* const data = static_cast<const unsigned char*>(blocks[i].get());
      EXPECT_TRUE(std::all_of(data, data + kBytes, [&](unsigned char c) { return c == i; })) << i;
    }
  }
}

// A backward has large and small gradients in turn, and the budget has room for one kind at a time.
TEST_F(Allocator, large_and_small_blocks_that_take_turns_share_their_pages) {
  if (!system_moves_pages()) GTEST_SKIP() << "this system has no MREMAP_DONTUNMAP";
  constexpr std::int64_t kLarge = 1 << 20, kSmall = 64 << 10;
  constexpr int kRounds = 20, kSmallBlocks = 15;
  memory::set_budget(memory::usage().reserved + memory::footprint(kLarge));
  std::int64_t fresh = 0;  // the pages that were not held when their block was taken
  const auto take_written = [&](std::int64_t bytes) {
    c10::DataPtr block = take(bytes);
    if (system_tells_pages()) {
      const std::int64_t whole = memory::footprint(bytes);
      fresh += whole / 4096 - held(block, whole);
    }
    std::memset(block.get(), 1, static_cast<std::size_t>(bytes));
    return block;
  };
  const auto turn = [&] {
    take_written(kLarge);  // freed at once
    std::vector<c10::DataPtr> small;
    for (int i = 0; i < kSmallBlocks; ++i) small.push_back(take_written(kSmall));
  };
  turn();
  fresh = 0;
  for (int round = 0; round < kRounds; ++round) turn();
  EXPECT_LT(fresh, kLarge / 4096) << kRounds << " times as many where each kind has its own";
  EXPECT_LE(memory::usage().peak_reserved, *memory::budget());
}

TEST_F(Allocator, a_budget_is_refused_before_any_byte_is_taken) {
  const std::int64_t budget = before_.reserved + (8 << 20);
  memory::set_budget(budget);
  const c10::DataPtr held = take(6 << 20);
  const std::int64_t reserved = memory::usage().reserved;
  try {
    const c10::DataPtr block = take(4 << 20);
    ADD_FAILURE() << "the budget let it pass";
  } catch (const BudgetExceeded& error) {
    EXPECT_EQ(error.need, Bytes(memory::footprint(4 << 20)));
    EXPECT_EQ(error.budget, Bytes(budget));
    EXPECT_EQ(error.in_use, Bytes(reserved));
    EXPECT_EQ(error.smallest_feasible, Bytes(0));
    EXPECT_NE(std::string(error.what()).find("4.0 MiB"), std::string::npos) << error.what();
  }
  EXPECT_EQ(memory::usage().reserved, reserved);
  EXPECT_LE(memory::usage().peak_reserved, budget);
}

TEST_F(Allocator, cached_blocks_make_room_under_a_budget) {
  memory::set_budget(before_.reserved + (8 << 20));
  { const c10::DataPtr a = take(3 << 20), b = take(3 << 20); }
  const c10::DataPtr block = take(7 << 20);  // it fits into no cached run
  EXPECT_NE(block.get(), nullptr);
  EXPECT_LE(memory::usage().peak_reserved, before_.reserved + (8 << 20));
}

TEST_F(Allocator, what_is_cached_goes_before_a_target_is_passed_and_what_is_live_passes_it) {
  constexpr std::int64_t kTarget = 8 << 20;
  memory::set_target(before_.reserved + kTarget);
  { const c10::DataPtr a = take(3 << 20), b = take(3 << 20); }
  const c10::DataPtr block = take(7 << 20);  // it fits into no cached run
  EXPECT_LE(memory::usage().peak_reserved, before_.reserved + kTarget);
  const c10::DataPtr another = take(7 << 20);
  EXPECT_GT(memory::usage().reserved, before_.reserved + kTarget);
  const c10::DataPtr third = take(1 << 20);
  EXPECT_NE(third.get(), nullptr) << "beyond it already";
  memory::set_target(std::nullopt);
}

TEST_F(Allocator, many_cached_small_blocks_make_room_for_a_large_one) {
  memory::set_budget(before_.reserved + (1 << 20));
  {
    std::vector<c10::DataPtr> small;
    for (int i = 0; i < 3000; ++i) small.push_back(take(200));
  }
  EXPECT_NE(take(900 << 10).get(), nullptr);
}

TEST_F(Allocator, a_budget_below_what_is_in_use_is_refused_and_the_old_one_stays) {
  const c10::DataPtr held = take(4 << 20);
  memory::set_budget(memory::usage().reserved + (1 << 20));
  const auto old = memory::budget();
  EXPECT_THROW(memory::set_budget(1 << 20), BudgetExceeded);
  EXPECT_EQ(memory::budget(), old);
}

class OneBlock : public memory::Reclaimer {
 public:
  std::int64_t reclaim(std::int64_t bytes) override {
    ++calls;
    asked = bytes;
    if (!block) return 0;
    block.clear();
    return 1;
  }
  void refuse(std::int64_t need, std::int64_t in_use, std::int64_t budget) override {
    throw BudgetExceeded("from the engine", Bytes(need), Bytes(in_use), Bytes(budget), Bytes(77));
  }
  c10::DataPtr block;
  int calls = 0;
  std::int64_t asked = 0;
};

TEST_F(Allocator, asks_to_evict_what_is_missing_and_then_refuses_through_the_engine) {
  const std::int64_t large = memory::footprint(4 << 20);
  memory::set_budget(before_.reserved + large + (1 << 20));
  OneBlock reclaimer;
  reclaimer.block = take(4 << 20);
  memory::set_reclaimer(&reclaimer);
  const c10::DataPtr second = take(4 << 20);
  EXPECT_EQ(reclaimer.calls, 1);
  EXPECT_EQ(reclaimer.asked, large - (1 << 20));
  try {
    (void)take(4 << 20);
    ADD_FAILURE();
  } catch (const BudgetExceeded& error) {
    EXPECT_EQ(error.smallest_feasible, Bytes(77));
  }
  EXPECT_EQ(reclaimer.calls, 2);
}

}  // namespace
}  // namespace neap::test
