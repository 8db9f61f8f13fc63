// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// NoGradGuard and InferenceMode change the dispatch keys of tensors and threads. If the engine lost
// its own key with them, it would see no operators from then on. Then evicted tensors would never
// come back ("neap has evicted this storage").
#include "regression/evicting.h"

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 64;

at::Tensor source() { return torch::ones({kSide, kSide}) * 0.3; }

TEST(GradMode, off_inside_a_region_evicts_and_replays) {
  const at::Tensor x = source().requires_grad_();
  EXPECT_EQ(expect_same_bytes_when_back([&] {
              const torch::NoGradGuard no_grad;
              return torch::tanh(x * 2);
            }),
            2);
}

TEST(GradMode, off_around_a_region_evicts_and_replays) {
  const at::Tensor x = source().requires_grad_();
  const torch::NoGradGuard no_grad;
  EXPECT_EQ(expect_same_bytes_when_back([&] { return torch::tanh(x * 2); }), 2);
}

TEST(GradMode, off_at_the_replay_gives_the_same_bytes) {
  const at::Tensor x = source().requires_grad_();
  const Counts counts;
  const at::Tensor made = made_in_region([&] { return torch::tanh(x * 2); });
  const torch::NoGradGuard no_grad;
  EXPECT_EQ(first_difference(bytes_of({torch::tanh(x * 2)}), bytes_of({made})), std::nullopt);
  EXPECT_EQ(counts.replays(), 2);
  EXPECT_TRUE(made.requires_grad()) << "the tensor itself was never touched";
}

// A write with grad mode off makes no recipe, so the tensor must stay.
TEST(GradMode, off_for_a_write_inside_a_region_keeps_what_was_written) {
  const at::Tensor x = source();
  at::Tensor made, beside;
  const Counts counts;
  checkpoint([&] {
    made = x * 2;
    {
      const torch::NoGradGuard no_grad;
      made.add_(1);
    }
    beside = made * 3;
  });
  EXPECT_TRUE(evicted(beside));
  EXPECT_EQ(first_difference(bytes_of({x * 2 + 1, (x * 2 + 1) * 3}), bytes_of({made, beside})),
            std::nullopt);
  EXPECT_GT(counts.replays(), 0);
}

TEST(InferenceMode, inside_a_region_evicts_and_replays) {
  const at::Tensor x = source();
  EXPECT_EQ(expect_same_bytes_when_back([&] {
              const c10::InferenceMode inference;
              return torch::tanh(x * 2);
            }),
            2);
}

// When a guard of inference mode closes, it puts back the dispatch keys from before it. So what a
// region inside had evicted would never come back. Inference mode saves nothing for a backward
// either. So a region there only calls its function.
TEST(InferenceMode, around_a_region_evicts_nothing) {
  const at::Tensor x = source();
  const Counts counts;
  at::Tensor made;
  {
    const c10::InferenceMode inference;
    made = made_in_region([&] { return torch::tanh(x * 2); });
  }
  EXPECT_FALSE(evicted(made));
  EXPECT_EQ(counts.evictions(), 0);
  EXPECT_EQ(first_difference(bytes_of({torch::tanh(x * 2)}), bytes_of({made})), std::nullopt);
}

// The same guard around a scope's first region. The next region takes the keys again.
TEST(GradMode, of_a_guard_that_put_back_older_keys_does_not_blind_the_next_region) {
  const at::Tensor x = source();
  at::Tensor made;
  {
    const c10::impl::ForceDispatchKeyGuard guard;
    made = made_in_region([&] { return torch::tanh(x * 2); });
  }
  ASSERT_TRUE(evicted(made));
  const Counts counts;
  const at::Tensor next = made_in_region([&] { return torch::tanh(x * 3); });
  ASSERT_TRUE(evicted(next));
  EXPECT_EQ(
      first_difference(bytes_of({torch::tanh(x * 2), torch::tanh(x * 3)}), bytes_of({made, next})),
      std::nullopt);
}

TEST(InferenceMode, at_the_replay_gives_the_same_bytes) {
  const at::Tensor x = source().requires_grad_();
  const at::Tensor made = made_in_region([&] { return torch::tanh(x * 2); });
  ASSERT_TRUE(evicted(made));
  const c10::InferenceMode inference;
  EXPECT_EQ(first_difference(bytes_of({torch::tanh(x * 2)}), bytes_of({made})), std::nullopt);
}

TEST(InferenceMode, for_an_evaluation_inside_a_training_scope_gives_the_same_bytes) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor weight = torch::randn({kSide, kSide}).mul_(0.1).requires_grad_();
        const at::Tensor input = torch::rand({kSide, kSide});
        const auto forward = [&] {
          at::Tensor x = input;
          for (int i = 0; i < 10; ++i) x = torch::tanh(x.mm(weight));
          return x;
        };
        const at::Tensor y = forward();
        at::Tensor evaluated;
        {
          const c10::InferenceMode inference;
          evaluated = forward().sum();
        }
        y.sum().backward();
        return std::vector<at::Tensor>{weight.grad(), evaluated};
      },
      {75, 60});
}

TEST(GradMode, off_for_an_evaluation_inside_a_training_scope_gives_the_same_bytes) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor weight = torch::randn({kSide, kSide}).mul_(0.1).requires_grad_();
        at::Tensor x = torch::rand({kSide, kSide});
        std::vector<at::Tensor> probes;
        for (int i = 0; i < 10; ++i) {
          x = torch::tanh(x.mm(weight));
          const torch::NoGradGuard no_grad;
          probes.push_back(torch::sigmoid(x).mean());
        }
        x.sum().backward();
        probes.push_back(weight.grad());
        return probes;
      },
      {75, 60});
}

}  // namespace
}  // namespace neap::test
