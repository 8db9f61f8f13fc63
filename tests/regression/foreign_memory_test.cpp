// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A loader wraps its buffer with from_blob and clones it, so an operator reads memory that LibTorch
// does not own. If the buffer holds the next batch at the time of the replay, the backward trains
// on pictures of one batch with labels of another. Tensors of other kinds (sparse, quantized,
// nested, meta) are left alone, because evicting them would crash.
#include "regression/evicting.h"

#include <algorithm>

namespace neap::test {
namespace {

constexpr std::int64_t kCount = 1024;

TEST(ForeignMemory, that_is_refilled_before_the_replay_leaves_the_clone_as_it_was) {
  std::vector<float> buffer(kCount, 1.0F);
  const Counts counts;
  at::Tensor batch;
  at::Tensor doubled;
  checkpoint([&] {
    batch = torch::from_blob(buffer.data(), {kCount}).clone();
    doubled = batch * 2;
  });
  std::ranges::fill(buffer, 7.0F);
  EXPECT_FALSE(evicted(batch)) << "nothing can make it again";
  EXPECT_TRUE(evicted(doubled));
  EXPECT_EQ(first_difference(bytes_of({torch::full({kCount}, 2.0F)}), bytes_of({doubled})),
            std::nullopt);
  EXPECT_EQ(counts.replays(), 1);
}

TEST(ForeignMemory, and_what_is_made_from_it_directly_is_pinned) {
  std::vector<float> buffer(kCount, 1.0F);
  const at::Tensor wrapped = torch::from_blob(buffer.data(), {kCount});
  const Counts counts;
  at::Tensor sum;
  at::Tensor joined;
  checkpoint([&] {
    sum = wrapped + 1;
    joined = torch::cat({sum, wrapped});
  });
  std::ranges::fill(buffer, 7.0F);
  EXPECT_FALSE(evicted(wrapped));
  EXPECT_FALSE(evicted(sum));
  EXPECT_FALSE(evicted(joined));
  EXPECT_EQ(counts.evictions(), 0);
  EXPECT_EQ(sum.sum().item<float>(), 2.0F * kCount);
}

TEST(ForeignMemory, that_an_operator_writes_into_makes_nothing_evicted) {
  std::vector<float> buffer(kCount, 1.0F);
  const at::Tensor wrapped = torch::from_blob(buffer.data(), {kCount});
  const at::Tensor source = torch::rand({kCount});
  const Counts counts;
  checkpoint([&] { wrapped.copy_(source); });
  EXPECT_EQ(counts.evictions(), 0);
  EXPECT_EQ(first_difference(bytes_of({source}), bytes_of({wrapped})), std::nullopt);
}

TEST(ForeignMemory, has_its_own_deleter_run_once_at_its_death) {
  std::vector<float> buffer(kCount, 1.0F);
  int freed = 0;
  const Counts counts;
  at::Tensor doubled;
  checkpoint([&] {
    const at::Tensor wrapped = torch::from_blob(buffer.data(), {kCount}, [&](void*) { ++freed; });
    const at::Tensor copy = wrapped.clone();
    doubled = copy * 2;
  });
  EXPECT_EQ(freed, 1);
  EXPECT_TRUE(evicted(doubled));
  EXPECT_EQ(doubled.sum().item<float>(), 2.0F * kCount);
  EXPECT_EQ(counts.replays(), 1);
}

// `make` returns a tensor of a kind that is left alone. A dense tensor beside it is evicted, which
// proves that the region works.
void expect_pinned(const std::function<at::Tensor()>& make,
                   const std::function<at::Tensor(const at::Tensor&)>& dense) {
  const at::Tensor source = torch::rand({32, 32});
  const at::Tensor expected = dense(make());
  at::Tensor made;
  at::Tensor beside;
  const Counts counts;
  checkpoint([&] {
    made = make();
    beside = source + 1;
  });
  EXPECT_TRUE(evicted(beside));
  if (expected.defined()) {
    EXPECT_EQ(first_difference(bytes_of({expected}), bytes_of({dense(made)})), std::nullopt);
  }
  EXPECT_EQ(first_difference(bytes_of({source + 1}), bytes_of({beside})), std::nullopt);
  EXPECT_EQ(counts.replays(), 1) << "of the dense one beside it";
}

TEST(OtherKinds, sparse_tensors_survive_a_region) {
  const at::Tensor dense = torch::eye(32);
  expect_pinned([&] { return dense.to_sparse() * 2; },
                [](const at::Tensor& made) { return made.to_dense(); });
}

TEST(OtherKinds, compressed_sparse_tensors_survive_a_region) {
  const at::Tensor dense = torch::eye(32);
  expect_pinned([&] { return dense.to_sparse_csr(); },
                [](const at::Tensor& made) { return made.to_dense(); });
}

TEST(OtherKinds, quantized_tensors_survive_a_region) {
  const at::Tensor dense = torch::rand({32, 32});
  expect_pinned([&] { return torch::quantize_per_tensor(dense, 0.1, 0, torch::kQUInt8); },
                [](const at::Tensor& made) { return made.dequantize(); });
}

TEST(OtherKinds, nested_tensors_survive_a_region) {
  const at::Tensor dense = torch::rand({24, 32});
  expect_pinned(
      [&] {
        return at::_nested_tensor_from_tensor_list(
            {dense.narrow(0, 0, 16).clone(), dense.narrow(0, 16, 8).clone()});
      },
      [](const at::Tensor& made) { return at::nested_to_padded_tensor(made, 0.0); });
}

TEST(OtherKinds, meta_tensors_survive_a_region) {
  expect_pinned(
      [] {
        return torch::empty({32, 32}, torch::kMeta) + 1;
      },
      [](const at::Tensor&) { return at::Tensor(); });
}

// The parts are ordinary storages and would be evicted at the end of their region. But an operator
// that reads the sparse tensor does not name them.
TEST(OtherKinds, sparse_tensors_keep_the_dense_parts_that_they_hold) {
  const at::Tensor at = torch::arange(64).view({1, 64});
  at::Tensor sparse;
  at::Tensor beside;
  checkpoint([&] {
    const at::Tensor rows = at * 2;
    const at::Tensor numbers = torch::ones({64, 16}) * 3;
    beside = numbers * 2;
    sparse = torch::sparse_coo_tensor(rows, numbers, {128, 16});
  });
  EXPECT_TRUE(evicted(beside));
  at::Tensor expected = torch::zeros({128, 16});
  expected.index_fill_(0, torch::arange(64) * 2, 3);
  EXPECT_EQ(first_difference(bytes_of({expected, torch::full({64, 16}, 6.0F)}),
                             bytes_of({sparse.to_dense(), beside})),
            std::nullopt);
}

TEST(OtherKinds, a_sparse_gradient_of_an_embedding_is_the_same_under_a_budget) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor table = torch::randn({200, 32}).requires_grad_();
        const at::Tensor rows = torch::arange(64);
        at::Tensor x = torch::embedding(table, rows, -1, false, /*sparse=*/true);
        for (int i = 0; i < 12; ++i) x = torch::tanh(x * 1.5);
        x.sum().backward();
        return std::vector<at::Tensor>{table.grad().to_dense()};
      },
      {70, 60});
}

}  // namespace
}  // namespace neap::test
