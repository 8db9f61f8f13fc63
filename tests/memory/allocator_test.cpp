// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The blocks and the counters of the allocator. Blocks that overlap by a byte would give a wrong
// gradient, far from the cause. So tests fill each block with a pattern of its own, and check it
// when they free the block. A naive model counts too, and must agree after each step.
#include "memory/allocator.h"

#include "memory/blocks.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace neap::test {
namespace {

TEST_F(Allocator, aligns_each_block_to_64_bytes_and_its_context_is_its_data) {
  for (const std::int64_t bytes : {1, 63, 64, 65, 1000, 1984, 1985, 4032, 4033, 1 << 20, 5 << 20}) {
    const c10::DataPtr block = take(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.get()) % memory::kAlignment, 0) << bytes;
    EXPECT_EQ(block.get(), block.get_context());
    EXPECT_EQ(block.get_deleter(), memory::deleter());
    std::memset(block.get(), 0xff, static_cast<std::size_t>(bytes));
  }
}

TEST_F(Allocator, numbers_blocks_in_the_order_in_which_they_are_handed_out) {
  std::int64_t next = memory::usage().allocations;
  for (const std::int64_t bytes : {64, 5000, 1 << 20, 64}) {
    const c10::DataPtr block = take(bytes);
    EXPECT_EQ(memory::entry_of(block.get()).allocation_serial, next) << bytes;
    EXPECT_EQ(memory::usage().allocations, ++next);
  }
}

TEST_F(Allocator, raw_allocate_and_raw_deallocate_work_as_onednn_uses_them) {
  ASSERT_NE(memory::allocator().raw_deleter(), nullptr);
  void* data = memory::allocator().raw_allocate(10000);
  EXPECT_EQ(memory::usage().requested, before_.requested + 10000);
  memory::allocator().raw_deallocate(data);
  EXPECT_EQ(memory::usage().requested, before_.requested);
}

TEST_F(Allocator, nothing_is_taken_for_zero_bytes) {
  const c10::DataPtr block = take(0);
  EXPECT_EQ(block.get(), nullptr);
  EXPECT_EQ(memory::usage().allocations, before_.allocations);
}

TEST_F(Allocator, counts_what_is_taken_with_rounding) {
  const std::vector<std::pair<std::int64_t, std::int64_t>> cases{
      {1, 64},      {64, 64},     {65, 128},    {1024, 1024}, {1025, 1280},
      {2048, 2048}, {2049, 4096}, {4096, 4096}, {4097, 8192}, {1 << 20, 1 << 20},
  };
  for (const auto& [bytes, taken] : cases) {
    EXPECT_EQ(memory::footprint(bytes), taken) << bytes;
    const c10::DataPtr block = take(bytes);
    EXPECT_EQ(memory::usage().live - before_.live, taken) << bytes;
    EXPECT_EQ(memory::usage().requested - before_.requested, bytes);
  }
}

TEST_F(Allocator, keeps_freed_blocks_until_trim) {
  constexpr std::int64_t kBytes = 10 << 20;
  void* first = take(kBytes).get();  // freed at once
  memory::Usage now = memory::usage();
  EXPECT_EQ(now.live, before_.live);
  EXPECT_EQ(now.cached - before_.cached, memory::footprint(kBytes));
  EXPECT_EQ(now.reserved, now.live + now.cached);
  EXPECT_EQ(take(kBytes).get(), first) << "the cached block was not reused";
  EXPECT_EQ(memory::usage().reserved, now.reserved);
  EXPECT_GE(memory::trim().count(), memory::footprint(kBytes));
  EXPECT_EQ(memory::usage().reserved, before_.reserved);
}

TEST_F(Allocator, peaks_are_the_largest_values_since_the_reset) {
  constexpr std::int64_t kBytes = 3 << 20;
  { const c10::DataPtr a = take(kBytes), b = take(kBytes); }
  EXPECT_EQ(memory::usage().peak - before_.live, 2 * memory::footprint(kBytes));
  EXPECT_EQ(memory::usage().peak_reserved, memory::usage().reserved);
  memory::reset_peak();
  EXPECT_EQ(memory::usage().peak, before_.live);
  memory::reset_watermark();
  memory::trim();
  EXPECT_GT(memory::watermark(), memory::usage().reserved);
  memory::reset_watermark();
  EXPECT_EQ(memory::watermark(), memory::usage().reserved);
}

TEST_F(Allocator, sizes_near_the_end_of_the_numbers_are_refused) {
  for (const std::int64_t bytes :
       {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::max() - 4096,
        std::int64_t{1} << 62}) {
    EXPECT_THROW((void)take(bytes), OutOfMemory);
  }
}

TEST_F(Allocator, fails_at_call_k_once_or_for_ever) {
  memory::fail_allocation(3, false);
  EXPECT_NO_THROW((void)take(100));
  EXPECT_NO_THROW((void)take(100));
  EXPECT_THROW((void)take(100), OutOfMemory);
  EXPECT_NO_THROW((void)take(100));
  memory::fail_allocation(1, true);
  for (int i = 0; i < 3; ++i) EXPECT_THROW((void)take(100), OutOfMemory);
  memory::fail_allocation(0, false);
  EXPECT_NO_THROW((void)take(100));
}

TEST_F(Allocator, the_hook_can_keep_the_bytes_of_a_block_with_a_record) {
  static void* kept = nullptr;
  static int record = 0;
  memory::set_death_hook([](void* which, void* data) noexcept {
    if (which != &record) return false;
    kept = data;
    return true;
  });
  {
    const c10::DataPtr with = take(100), without = take(100);
    memory::entry_of(with.get()).record = &record;
  }
  EXPECT_NE(kept, nullptr);
  EXPECT_EQ(memory::usage().live - before_.live, memory::footprint(100));
  memory::release(kept);
  memory::set_death_hook(nullptr);
}

TEST(AllocatorDeath, a_block_that_is_freed_twice_ends_the_process_with_a_message) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        void* data = memory::allocator().raw_allocate(5000);
        memory::release(data);
        memory::release(data);
      },
      "freed twice");
}

// The naive model is a list of blocks. Each block is filled with a byte of its own.
void run_random_steps(std::int64_t room) {
  memory::trim();
  const memory::Usage before = memory::usage();
  memory::set_budget(before.reserved + room);
  struct Held {
    c10::DataPtr data;
    std::int64_t bytes;
    unsigned char fill;
  };
  std::vector<Held> held;
  std::int64_t requested = 0;
  std::int64_t live = 0;
  const auto drop = [&](std::size_t index) {
    Held& block = held[index];
    const auto* data = static_cast<const unsigned char*>(block.data.get());
    RC_ASSERT(
        std::all_of(data, data + block.bytes, [&](unsigned char c) { return c == block.fill; }));
    requested -= block.bytes;
    live -= memory::footprint(block.bytes);
    std::swap(block, held.back());
    held.pop_back();
  };
  const auto steps = *rc::gen::inRange(1, 300);
  for (int step = 0; step < steps; ++step) {
    const int action = *rc::gen::inRange(0, 100);
    if (action < 60 || held.empty()) {
      const auto bytes = *rc::gen::oneOf(rc::gen::inRange<std::int64_t>(1, 3000),
                                         rc::gen::inRange<std::int64_t>(2000, 200000),
                                         rc::gen::inRange<std::int64_t>(200000, 3000000));
      try {
        c10::DataPtr data = take(bytes);
        const auto fill = static_cast<unsigned char>(step);
        std::memset(data.get(), fill, static_cast<std::size_t>(bytes));
        held.push_back({std::move(data), bytes, fill});
        requested += bytes;
        live += memory::footprint(bytes);
      } catch (const BudgetExceeded&) {
        // A small block may need a new slab for its size, of four pages at most.
        RC_ASSERT(live + std::max<std::int64_t>(memory::footprint(bytes), 4 * 4096) +
                      memory::usage().cached >
                  room);
      }
    } else if (action < 97) {
      drop(static_cast<std::size_t>(
          *rc::gen::inRange<std::int64_t>(0, static_cast<std::int64_t>(held.size()))));
    } else {
      memory::trim();
    }
    const memory::Usage now = memory::usage();
    RC_ASSERT(now.requested - before.requested == requested);
    RC_ASSERT(now.live - before.live == live);
    RC_ASSERT(now.reserved == now.live + now.cached);
    RC_ASSERT(now.reserved <= before.reserved + room);
    for (const Held& block : held) {
      RC_ASSERT(reinterpret_cast<std::uintptr_t>(block.data.get()) % memory::kAlignment == 0U);
    }
    memory::validate();
  }
  while (!held.empty()) drop(held.size() - 1);
  memory::set_budget(std::nullopt);
  memory::trim();
  RC_ASSERT(memory::usage().reserved == before.reserved);
}

TEST(AllocatorProperty, blocks_never_overlap_and_counters_agree_with_a_naive_model) {
  EXPECT_TRUE(
      rc::check([] { run_random_steps(*rc::gen::inRange<std::int64_t>(1 << 16, 8 << 20)); }));
}

// Four threads put blocks on two shelves. Each frees the block that was at its place before. The
// blocks of the shelf of large ones do not fit into the budget together, so some are refused. The
// test proves three things: no moment passes the budget, no block overlaps another, and each byte
// is counted once.
TEST(AllocatorThreads, blocks_taken_and_freed_at_once_never_overlap_and_never_pass_the_budget) {
  memory::trim();
  memory::reset_peak();
  const memory::Usage before = memory::usage();
  constexpr std::int64_t kRoom = 1 << 20;
  constexpr std::uint64_t kPlaces = 64, kSmallest = 20000, kMostLarge = 60000, kMostSmall = 100;
  static_assert(static_cast<std::int64_t>(kPlaces * kSmallest) > kRoom);
  memory::set_budget(before.reserved + kRoom);
  constexpr int kThreads = 4;
  struct Content {
    std::uint64_t bytes;
    unsigned char fill;
  };
  using Shelf = std::array<std::atomic<void*>, kPlaces>;
  Shelf large{}, small{};
  std::atomic<std::int64_t> taken{0}, refused{0}, damaged{0};
  const auto take_off = [&](void* data) {
    if (data == nullptr) return;
    Content content{};
    std::memcpy(&content, data, sizeof content);
    const auto* const rest = static_cast<const unsigned char*>(data) + sizeof content;
    if (content.bytes > kMostLarge ||
        !std::all_of(rest, static_cast<const unsigned char*>(data) + content.bytes,
                     [&](unsigned char c) { return c == content.fill; })) {
      ++damaged;
    }
    memory::allocator().raw_deallocate(data);
  };
  const auto put = [&](Shelf& shelf, std::uint64_t place, std::uint64_t bytes) {
    void* data = nullptr;
    try {
      data = memory::allocator().raw_allocate(bytes);
      const Content content{bytes, static_cast<unsigned char>(bytes * 7 + place)};
      std::memset(data, content.fill, bytes);
      std::memcpy(data, &content, sizeof content);
      ++taken;
    } catch (const BudgetExceeded&) {
      ++refused;
    }
    if (data != nullptr) take_off(shelf[place].exchange(data));
    return data != nullptr;
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::uint64_t state = static_cast<std::uint64_t>(thread) + 1;
      const auto next = [&](std::uint64_t end) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (state >> 33) % end;
      };
      for (std::uint64_t step = 0; step < 6000; ++step) {
        // The places come in turn, so that all are filled for any random numbers.
        if (!put(large, step % kPlaces, kSmallest + next(kMostLarge - kSmallest))) {
          take_off(large[next(kPlaces)].exchange(nullptr));
        }
        // Most of the time is spent in the allocator, so that the threads meet there.
        for (int i = 0; i < 40; ++i) put(small, next(kPlaces), sizeof(Content) + next(kMostSmall));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const memory::Usage full = memory::usage();
  EXPECT_EQ(full.allocations - before.allocations, taken.load());
  EXPECT_LE(full.peak_reserved, before.reserved + kRoom);
  EXPECT_GT(refused.load(), 0) << "the budget was not tight, so nothing was tested";
  std::int64_t requested = 0;
  for (Shelf* shelf : {&large, &small}) {
    for (auto& place : *shelf) {
      if (void* const data = place.load()) requested += memory::entry_of(data).requested;
    }
  }
  EXPECT_EQ(full.requested - before.requested, requested);
  for (Shelf* shelf : {&large, &small}) {
    for (auto& place : *shelf) take_off(place.load());
  }
  EXPECT_EQ(damaged.load(), 0);
  memory::validate();
  EXPECT_EQ(memory::usage().live, before.live);
  EXPECT_EQ(memory::usage().requested, before.requested);
  memory::set_budget(std::nullopt);
  memory::trim();
  EXPECT_EQ(memory::usage().reserved, before.reserved);
}

}  // namespace
}  // namespace neap::test
