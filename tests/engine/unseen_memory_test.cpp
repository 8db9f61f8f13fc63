// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Memory of another allocator, with deleters of the test that count what they free.
#include "engine/unseen_memory.h"

#include <neap/memory.h>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

namespace neap::engine {
namespace {

constexpr std::int64_t kBytes = 1000;

int freed = 0;
int deaths = 0;
void free_by_system(void* /*data*/) { ++freed; }
void on_death(void* /*data*/) { ++deaths; }
void free_by_others(void* /*data*/) {}

class UnseenMemoryTest : public testing::Test {
 protected:
  UnseenMemoryTest() { freed = deaths = 0; }
  [[nodiscard]] std::int64_t counted() const { return memory::usage().unseen - before_; }
  // A storage's pointer, as the system's allocator makes it.
  c10::DataPtr pointer(c10::DeleterFnPtr deleter = &free_by_system) {
    return {data_.data(), data_.data(), deleter, c10::Device(c10::DeviceType::CPU)};
  }

  std::array<char, kBytes> data_{};
  Block block_{};
  std::int64_t before_ = memory::usage().unseen;
  UnseenMemory memory_{&free_by_system, &on_death};
};

TEST_F(UnseenMemoryTest, is_adopted_once_and_counted_once) {
  c10::DataPtr one = pointer();
  EXPECT_FALSE(memory_.owns(one));
  EXPECT_TRUE(memory_.adopt(one, kBytes));
  EXPECT_TRUE(memory_.owns(one));
  EXPECT_TRUE(memory_.adopt(one, kBytes));
  EXPECT_EQ(counted(), kBytes);
  one.clear();
  EXPECT_EQ(deaths, 1) << "its storage reports its death";
  EXPECT_EQ(freed, 0);
  EXPECT_EQ(memory_.died(data_.data()), nullptr);
  EXPECT_EQ(freed, 1) << "no block: it is freed at once";
  EXPECT_EQ(counted(), 0);
}

TEST_F(UnseenMemoryTest, of_others_is_left_alone) {
  c10::DataPtr foreign = pointer(&free_by_others);
  EXPECT_FALSE(memory_.adopt(foreign, kBytes));
  c10::DataPtr inside(data_.data() + 8, data_.data(), &free_by_system,
                      c10::Device(c10::DeviceType::CPU));
  EXPECT_FALSE(memory_.adopt(inside, kBytes)) << "its data is not where the block begins";
  EXPECT_EQ(counted(), 0);
}

TEST_F(UnseenMemoryTest, belongs_to_its_block_until_the_engine_frees_it) {
  c10::DataPtr one = pointer();
  memory_.adopt(one, kBytes);
  EXPECT_EQ(memory_.find(data_.data()), nullptr);
  memory_.add(data_.data(), &block_, kBytes);
  EXPECT_EQ(memory_.find(data_.data()), &block_);
  one.clear();
  EXPECT_EQ(memory_.died(data_.data()), &block_) << "the engine may hold the data for readers";
  EXPECT_EQ(freed, 0);
  memory_.free(data_.data(), kBytes);
  EXPECT_EQ(freed, 1);
  EXPECT_EQ(counted(), 0);
  EXPECT_EQ(memory_.find(data_.data()), nullptr);
}

TEST_F(UnseenMemoryTest, of_a_block_that_is_forgotten_is_freed_when_its_storage_dies) {
  c10::DataPtr one = pointer();
  memory_.adopt(one, kBytes);
  memory_.add(data_.data(), &block_, kBytes);
  memory_.forget(data_.data());
  EXPECT_EQ(memory_.find(data_.data()), nullptr);
  EXPECT_EQ(counted(), kBytes) << "the program still holds it";
  one.clear();
  EXPECT_EQ(memory_.died(data_.data()), nullptr);
  EXPECT_EQ(freed, 1);
  EXPECT_EQ(counted(), 0);
}

}  // namespace
}  // namespace neap::engine
