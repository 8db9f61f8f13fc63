// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a plain step needs, and the states that another process compares with.
#include "memory/allocator.h"
#include "train/training.h"

#include <gmock/gmock.h>

#include <vector>

namespace neap::test {
namespace {

// neap was said to take 0.61 of the plain time without a replay: each plain step had its pages given back before it, and paid for
// fresh ones.
TEST(PlainStep, is_timed_with_the_memory_of_the_steps_before_it) {
  Job job;
  const MicroBatch batch = batches_of({4 * kBatch})[0];
  std::vector<bool> has_pages;
  const auto plain = train::measure_plain(
      [&](const at::Tensor& x, const at::Tensor& y) {
        has_pages.push_back(memory::usage().cached > (1 << 16));
        return torch::cross_entropy_loss(job.model->forward(x), y);
      },
      *job.optimizer, batch.x, batch.y);
  EXPECT_EQ(has_pages, (std::vector<bool>{false, false, true, true, true}));
  EXPECT_GT(plain.peak, plain.base);
}

TEST(State, comes_back_from_its_bytes) {
  Job job;
  ByHand{}.epoch(job, uneven_batches());
  const train::State state = state_of(job);
  const train::State back = train::State::unpacked(state.packed());
  EXPECT_EQ(state.first_difference(back), std::nullopt);
  EXPECT_EQ(back.parts(), state.parts());
  EXPECT_EQ(back.bytes(), state.bytes());
  EXPECT_EQ(train::State::unpacked("").parts(), 0);
}

TEST(State, is_not_made_of_bytes_that_are_cut_short) {
  Job job;
  const std::string bytes = state_of(job).packed();
  for (const std::size_t length :
       {std::size_t{1}, std::size_t{8}, std::size_t{30}, bytes.size() - 1}) {
    EXPECT_THAT([&] { train::State::unpacked(bytes.substr(0, length)); },
                testing::ThrowsMessage<InvalidArgument>(
                    testing::HasSubstr("the bytes are no packed state")))
        << length;
  }
}

}  // namespace
}  // namespace neap::test
