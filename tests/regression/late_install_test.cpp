// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Programs make tensors before install() and before the scope: parameters, tables, a library's own.
// Their memory comes from another allocator. Freeing it with neap's would crash, and losing sight
// of it would make recipes read freed memory.
#include "regression/evicting.h"

#include <c10/core/CPUAllocator.h>

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 32;
constexpr std::size_t kBytes = kSide * kSide * 4;

// A tensor like one that was made before install(): its memory is from LibTorch's own allocator.
at::Tensor early(float value) {
  c10::Allocator* const plain = c10::GetDefaultCPUAllocator();
  c10::Storage storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), kBytes, plain->allocate(kBytes), plain, true));
  at::Tensor tensor = torch::empty({0});
  tensor.set_(storage, 0, {kSide, kSide}, {kSide, 1});
  tensor.fill_(value);
  return tensor;
}

TEST(EarlyTensor, really_is_made_by_another_allocator_than_ours) {
  const at::Tensor tensor = early(1);
  EXPECT_NE(tensor.storage().data_ptr().get_deleter(), memory::deleter());
}

TEST(EarlyTensor, is_never_evicted_and_can_be_replayed_from) {
  const at::Tensor x = early(2);
  const Counts counts;
  at::Tensor made = made_in_region([&] { return x * 3; });
  EXPECT_FALSE(evicted(x));
  EXPECT_TRUE(evicted(made));
  EXPECT_EQ(made.sum().item<float>(), 6.0F * kSide * kSide);
  EXPECT_EQ(counts.replays(), 1);
}

TEST(EarlyTensor, that_dies_is_counted_as_unseen_until_nothing_reads_it_any_more) {
  const std::int64_t unseen = memory::usage().unseen;
  const Counts counts;
  at::Tensor made;
  {
    const at::Tensor x = early(2);
    made = made_in_region([&] { return x * 3; });
    EXPECT_EQ(memory::usage().unseen, unseen + static_cast<std::int64_t>(kBytes));
  }
  ASSERT_TRUE(evicted(made));
  EXPECT_EQ(memory::usage().unseen, unseen + static_cast<std::int64_t>(kBytes));
  const at::Tensor other = early(-1);
  EXPECT_EQ(made.sum().item<float>(), 6.0F * kSide * kSide);
  EXPECT_EQ(counts.replays(), 1);
  EXPECT_EQ(memory::usage().unseen, unseen);
}

TEST(EarlyTensor, that_is_resized_inside_a_region_keeps_its_bytes) {
  at::Tensor x = early(2);
  at::Tensor made;
  checkpoint([&] {
    made = x * 3;
    x.resize_({2 * kSide, kSide});
    x.narrow(0, kSide, kSide).fill_(5);
  });
  EXPECT_EQ(first_difference(bytes_of({torch::cat({torch::full({kSide, kSide}, 2.0F),
                                                   torch::full({kSide, kSide}, 5.0F)}),
                                       torch::full({kSide, kSide}, 6.0F)}),
                             bytes_of({x, made})),
            std::nullopt);
  EXPECT_FALSE(evicted(made)) << "what it was made from is gone";
}

TEST(EarlyTensor, that_is_written_in_place_brings_back_what_was_made_from_it) {
  at::Tensor x = early(2);
  const Counts counts;
  const at::Tensor made = made_in_region([&] { return x * 3; });
  ASSERT_TRUE(evicted(made));
  x.fill_(9);
  EXPECT_FALSE(evicted(made));
  EXPECT_EQ(counts.replays(), 1);
  EXPECT_EQ(made.sum().item<float>(), 6.0F * kSide * kSide);
}

TEST(EarlyTensor, as_a_parameter_gets_the_same_gradient_under_a_budget) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor weight = early(0.01F).requires_grad_();
        at::Tensor x = torch::rand({256, kSide});
        for (int i = 0; i < 12; ++i) x = torch::tanh(x.mm(weight));
        x.sum().backward();
        return std::vector<at::Tensor>{weight.grad()};
      },
      {70, 50});
}

// Half of the graph is older than the scope.
TEST(TensorMadeBeforeTheScope, is_met_late_and_is_never_evicted) {
  const at::Tensor weight = torch::randn({64, 64}).mul_(0.1).requires_grad_();
  const at::Tensor x = torch::rand({64, 64});
  const auto first_half = [&] {
    weight.mutable_grad() = at::Tensor();
    return torch::tanh(x.mm(weight));
  };
  const auto second_half = [](at::Tensor y) {
    for (int i = 0; i < 12; ++i) y = torch::sigmoid(y * 1.5);
    y.sum().backward();
  };
  second_half(first_half());
  const ByteLists expected = bytes_of({weight.grad()});
  const at::Tensor y = first_half();
  memory::trim();
  Scope scope({.budget = Bytes(memory::usage().live + 8 * memory::footprint(64 * 64 * 4)),
               .policy = Online{}});
  second_half(y);
  EXPECT_FALSE(evicted(y));
  scope.end();
  EXPECT_GT(scope.stats().replays, 0);
  EXPECT_EQ(first_difference(expected, bytes_of({weight.grad()})), std::nullopt);
}

}  // namespace
}  // namespace neap::test
