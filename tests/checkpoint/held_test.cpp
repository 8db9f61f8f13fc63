// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// When the program lets go of a batch, neap holds it for the tensors that were made from it. But it
// must never hold so much that a step no longer fits where plain LibTorch's fits: see Note [What is
// held].
#include "memory/allocator.h"
#include "support/bytes.h"

#include <neap/checkpoint.h>

#include <torch/torch.h>

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace neap::test {
namespace {

constexpr std::int64_t kCount = 64 * 1024;  // floats in a batch
constexpr int kBatches = 4;

// The batch is written through a pointer, so nothing can make it again.
at::Tensor batch_of(int number) {
  at::Tensor batch = at::empty({kCount});
  float* const values = batch.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < kCount; ++i) {
    values[i] = static_cast<float>(i % 17 + number) / 16;
  }
  return batch;
}

// From each batch, twice its bytes are made, and then it dies. The last operator reads everything
// that was made. Where one of those tensors was evicted meanwhile, its batch must be there too.
std::vector<at::Tensor> norms_of_batches() {
  std::vector<at::Tensor> made;
  for (int i = 0; i < kBatches; ++i) {
    const at::Tensor batch = batch_of(i);
    made.push_back(at::cat({batch, batch}));
  }
  return at::_foreach_norm(made);
}

TEST(Held, batches_do_not_make_a_step_larger_than_plain_libtorch) {
  memory::trim();
  memory::reset_peak();
  const std::int64_t before = memory::usage().reserved;
  const std::vector<at::Tensor> plain = norms_of_batches();
  const std::int64_t peak = memory::usage().peak_reserved - before;
  memory::trim();
  std::vector<at::Tensor> bounded;
  {
    const Scope scope({.budget = Bytes(memory::usage().reserved + peak)});
    ASSERT_NO_THROW(bounded = norms_of_batches());
  }
  EXPECT_EQ(bytes_of(plain), bytes_of(bounded));
}

}  // namespace
}  // namespace neap::test
