// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What is known of a block is kept beside its data and found by its address. That holds for blocks
// of all sizes, also while pages go from slabs to large blocks and back.
#include "memory/block_map.h"

#include "memory/allocator.h"
#include "memory/slabs.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <vector>

namespace neap::test {
namespace {

TEST(BlockMap, has_an_entry_of_its_own_for_each_block_in_use) {
  std::mt19937_64 random(1);
  std::vector<c10::DataPtr> blocks;
  std::vector<std::int64_t> bytes;
  std::set<const void*> entries;
  for (int i = 0; i < 2000; ++i) {
    bytes.push_back(1 + static_cast<std::int64_t>(random() % (i % 10 == 0 ? 300'000 : 2'500)));
    blocks.push_back(memory::allocator().allocate(static_cast<std::size_t>(bytes.back())));
    entries.insert(&memory::entry_of(blocks.back().get()));
  }
  EXPECT_EQ(entries.size(), blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const memory::BlockEntry& entry = memory::entry_of(blocks[i].get());
    EXPECT_EQ(entry.requested, bytes[i]);
    EXPECT_EQ(entry.taken, memory::footprint(bytes[i]));
    EXPECT_EQ(entry.slab != nullptr, bytes[i] <= memory::kLargestSmall);
    EXPECT_EQ(entry.record, nullptr) << "the engine follows none of them";
  }
}

// On some devices the host may not write there.
TEST(BlockMap, writes_nothing_into_the_memory_of_blocks) {
  for (const std::int64_t bytes : {100, 2048, 5000, 1 << 20}) {
    memory::trim();  // what is cached after this is of this test
    const auto size = static_cast<std::size_t>(bytes);
    void* freed = nullptr;
    {
      const c10::DataPtr first = memory::allocator().allocate(size);
      const c10::DataPtr second = memory::allocator().allocate(size);
      std::memset(first.get(), 0x5a, size);
      std::memset(second.get(), 0x5a, size);
      freed = second.get();
    }
    const c10::DataPtr again = memory::allocator().allocate(size);
    const auto* const content = static_cast<const unsigned char*>(again.get());
    for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(content[i], 0x5a) << bytes << " at " << i;
    EXPECT_NE(freed, nullptr);
  }
}

TEST(BlockMap, knows_pages_that_were_a_slab_as_those_of_a_large_block_and_back) {
  memory::trim();
  for (int round = 0; round < 20; ++round) {
    std::vector<c10::DataPtr> small;
    for (int i = 0; i < 500; ++i) small.push_back(memory::allocator().allocate(700));
    const void* const page = small[0].get();
    EXPECT_NE(memory::entry_of(page).slab, nullptr);
    small.clear();
    memory::trim();
    std::vector<c10::DataPtr> large;
    for (int i = 0; i < 200; ++i) large.push_back(memory::allocator().allocate(4096));
    for (const c10::DataPtr& block : large) {
      EXPECT_EQ(memory::entry_of(block.get()).slab, nullptr);
      EXPECT_EQ(memory::entry_of(block.get()).taken, 4096);
    }
  }
  memory::validate();
}

}  // namespace
}  // namespace neap::test
