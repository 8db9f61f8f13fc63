// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slabs in memory of the test's own. Each is filled and emptied again.
#include "memory/slabs.h"

#include "memory/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace neap;
using namespace neap::memory;

// The size of every class: 64 bytes apart up to 1 KiB, then 256 bytes apart up to 2 KiB.
std::vector<std::int64_t> classes() {
  std::vector<std::int64_t> all;
  for (std::int64_t bytes = 64; bytes <= 1024; bytes += 64) all.push_back(bytes);
  for (std::int64_t bytes = 1280; bytes <= 2048; bytes += 256) all.push_back(bytes);
  return all;
}

// Slabs, with the pages that they were given.
struct Slabbed {
  Slabbed() = default;
  Slabbed(const Slabbed&) = delete;
  Slabbed& operator=(const Slabbed&) = delete;
  ~Slabbed() {
    for (const auto& [slab, start] : taken) slabs.give_back(slab, start);
    slabs.remove_empty([](memory::Run) {});
  }

  char* add(std::int64_t bytes) {
    const auto size = static_cast<std::size_t>(Slabs::slab_bytes(bytes));
    pages.emplace_back(static_cast<char*>(std::aligned_alloc(kPageBytes, size)), &std::free);
    char* const start = pages.back().get();
    BlockMap::reserve(start, static_cast<std::int64_t>(size));
    slabs.add({start, static_cast<std::int64_t>(size)}, bytes);
    return start;
  }
  Slabs::Block take(std::int64_t bytes) {
    const Slabs::Block block = slabs.take(bytes);
    if (block.start != nullptr) taken.emplace_back(block.slab, block.start);
    return block;
  }
  void give_back(const Slabs::Block& block) {
    taken.erase(std::find(taken.begin(), taken.end(), std::pair(block.slab, block.start)));
    slabs.give_back(block.slab, block.start);
  }
  std::vector<std::int64_t> remove_empty() {
    std::vector<std::int64_t> sizes;
    slabs.remove_empty([&](memory::Run run) { sizes.push_back(run.bytes); });
    return sizes;
  }

  std::vector<std::unique_ptr<char, decltype(&std::free)>> pages;
  std::vector<std::pair<Slab*, char*>> taken;
  Slabs slabs;
};

TEST(Slabs, each_size_goes_to_the_smallest_class_that_holds_it) {
  const std::vector<std::int64_t> all = classes();
  ASSERT_EQ(all.size(), 20U);
  for (std::int64_t bytes = 1; bytes <= kLargestSmall; ++bytes) {
    EXPECT_EQ(small_class_bytes(bytes), *std::lower_bound(all.begin(), all.end(), bytes)) << bytes;
  }
}

TEST(Slabs, a_slab_hands_out_as_many_blocks_as_fit_and_none_overlaps_another) {
  for (const std::int64_t bytes : classes()) {
    SCOPED_TRACE(bytes);
    Slabbed mine;
    EXPECT_EQ(mine.take(bytes).start, nullptr) << "there is no slab yet";
    char* const start = mine.add(bytes);
    const std::int64_t size = Slabs::slab_bytes(bytes);
    EXPECT_EQ(size % kPageBytes, 0);
    const std::int64_t fit = size / bytes;
    EXPECT_GE(fit, 8) << "a slab of few blocks wastes what does not fit";
    std::set<std::int64_t> offsets;
    for (std::int64_t i = 0; i < fit; ++i) {
      const Slabs::Block block = mine.take(bytes);
      ASSERT_NE(block.start, nullptr) << i;
      std::memset(block.start, 0xff, static_cast<std::size_t>(bytes));
      offsets.insert(block.start - start);
      mine.slabs.validate();
    }
    EXPECT_EQ(static_cast<std::int64_t>(offsets.size()), fit);
    std::int64_t next = 0;
    for (const std::int64_t offset : offsets) {
      EXPECT_GE(offset, next);
      next = offset + bytes;
    }
    EXPECT_LE(next, size);
    EXPECT_EQ(mine.take(bytes).start, nullptr) << "it is full";
  }
}

TEST(Slabs, each_byte_of_a_slab_belongs_to_the_block_that_a_division_says) {
  for (const std::int64_t bytes : classes()) {
    SCOPED_TRACE(bytes);
    Slabbed mine;
    char* const start = mine.add(bytes);
    const Slab& slab = *mine.take(bytes).slab;
    for (std::int64_t offset = 0; offset < Slabs::slab_bytes(bytes); ++offset) {
      ASSERT_EQ(slab.number_of(start + offset), offset / bytes) << offset;
    }
  }
}

TEST(Slabs, the_block_that_came_back_last_goes_out_first_also_out_of_a_slab_that_was_full) {
  Slabbed mine;
  mine.add(512);
  std::vector<Slabs::Block> blocks;
  for (int i = 0; i < 8; ++i) blocks.push_back(mine.take(512));
  ASSERT_EQ(mine.take(512).start, nullptr);
  mine.give_back(blocks[2]);
  mine.give_back(blocks[5]);
  mine.slabs.validate();
  EXPECT_EQ(mine.take(512).start, blocks[5].start);
  EXPECT_EQ(mine.take(512).start, blocks[2].start);
  EXPECT_EQ(mine.take(512).start, nullptr);
}

TEST(Slabs, blocks_of_one_class_never_come_from_the_slab_of_another) {
  Slabbed mine;
  mine.add(64);
  for (const std::int64_t bytes : classes()) {
    if (bytes != 64) {
      EXPECT_EQ(mine.take(bytes).start, nullptr) << bytes;
    }
  }
  EXPECT_NE(mine.take(64).start, nullptr);
}

TEST(Slabs, only_slabs_without_a_block_in_use_are_handed_back) {
  Slabbed mine;
  mine.add(512);
  std::vector<Slabs::Block> first;
  for (int i = 0; i < 8; ++i) first.push_back(mine.take(512));  // full: in no list
  mine.add(512);
  const Slabs::Block second = mine.take(512);
  mine.add(2048);  // never used
  EXPECT_EQ(mine.remove_empty(), std::vector<std::int64_t>{4 * kPageBytes});
  EXPECT_EQ(mine.remove_empty(), std::vector<std::int64_t>{}) << "the others hold blocks";
  mine.give_back(second);
  EXPECT_EQ(mine.remove_empty(), std::vector<std::int64_t>{kPageBytes});
  EXPECT_EQ(mine.take(512).start, nullptr) << "the full one is all that is left";
  for (const Slabs::Block& block : first) mine.give_back(block);
  mine.slabs.validate();
  EXPECT_EQ(mine.remove_empty(), std::vector<std::int64_t>{kPageBytes});
}

TEST(Slabs, slabs_leave_the_middle_of_their_list_as_they_fill_and_come_back_as_they_empty) {
  Slabbed mine;
  constexpr int kSlabs = 3, kFit = 4096 / 512;
  std::vector<Slabs::Block> blocks;
  for (int slab = 0; slab < kSlabs; ++slab) {
    mine.add(512);
    for (int i = 0; i < kFit; ++i) blocks.push_back(mine.take(512));
  }
  // Frees one block of each slab, then all of the middle one.
  for (const int slab : {0, 1, 2}) mine.give_back(blocks[static_cast<std::size_t>(slab * kFit)]);
  for (std::size_t i = kFit + 1; i < 2 * kFit; ++i) mine.give_back(blocks[i]);
  mine.slabs.validate();
  EXPECT_EQ(mine.remove_empty(), std::vector<std::int64_t>{kPageBytes});
  mine.slabs.validate();
  EXPECT_NE(mine.take(512).start, nullptr);
  EXPECT_NE(mine.take(512).start, nullptr);
  EXPECT_EQ(mine.take(512).start, nullptr) << "one block was free in each of the other two";
}

TEST(Slabs, validation_finds_a_count_that_does_not_fit_the_blocks) {
  Slabbed mine;
  mine.add(512);
  const Slabs::Block block = mine.take(512);
  ++block.slab->used;
  try {
    mine.slabs.validate();
    ADD_FAILURE() << "nothing was found";
  } catch (const std::logic_error& error) {
    EXPECT_STREQ(error.what(), "slabs: used and free blocks are those touched");
  }
  --block.slab->used;
  mine.slabs.validate();
}

}  // namespace
