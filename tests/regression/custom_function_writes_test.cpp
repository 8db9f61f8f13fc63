// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What the forward of a custom function makes and writes, with grad mode off. Such writes have
// recipes, so their results can be evicted. But writes by hand in such a function must be noticed.
// And storages whose writes only look similar must stay given.
#include "engine/engine.h"
#include "support/bytes.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <optional>

namespace neap {
namespace {

using test::ByteLists;
using test::bytes_of;

constexpr std::int64_t kSide = 64;
constexpr std::int64_t kTensor = kSide * kSide * 4;

// x + |x| / 2, computed in place.
struct InPlace : torch::autograd::Function<InPlace> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    at::Tensor y = x.abs().mul_(0.5).add_(x);
    context->save_for_backward({y});
    return y;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    return {gradients[0] * context->get_saved_variables()[0].tanh()};
  }
};

// The same by a loop over the memory, after an operator that wrote all of it.
struct ByHand : torch::autograd::Function<ByHand> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    at::Tensor y = at::empty_like(x);
    y.copy_(x);
    auto* const values = y.data_ptr<float>();
    for (std::int64_t i = 0; i < y.numel(); ++i) values[i] *= 0.75F;
    context->save_for_backward({y});
    return y;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    return {gradients[0] * context->get_saved_variables()[0].tanh()};
  }
};

template <class Function>
ByteLists gradients(int layers) {
  torch::manual_seed(1);
  const at::Tensor x = torch::randn({kSide, kSide}).requires_grad_();
  at::Tensor y = x;
  for (int i = 0; i < layers; ++i) y = Function::apply(y.tanh());
  y.sum().backward();
  return bytes_of({x.grad()});
}

TEST(CustomFunctionWrites, are_made_again_inside_a_budget_that_pinned_ones_would_not_fit) {
  constexpr int kLayers = 24;
  const ByteLists plain = gradients<InPlace>(kLayers);
  memory::trim();
  // A third of the bytes of the functions' results.
  Scope scope({.budget = Bytes(memory::usage().live + kLayers / 3 * kTensor), .policy = Online{}});
  const ByteLists found = gradients<InPlace>(kLayers);
  scope.end();
  EXPECT_EQ(test::first_difference(plain, found), std::nullopt);
  EXPECT_GT(scope.stats().replays, 0);
}

TEST(CustomFunctionWrites, by_hand_are_seen_and_never_made_again_without_them) {
  constexpr int kLayers = 12;
  const ByteLists plain = gradients<ByHand>(kLayers);
  for (int tensors = 40; tensors > 4; --tensors) {
    SCOPED_TRACE(tensors);
    memory::trim();
    try {
      Scope scope({.budget = Bytes(memory::usage().live + tensors * kTensor), .policy = Online{}});
      const ByteLists found = gradients<ByHand>(kLayers);
      scope.end();
      ASSERT_EQ(test::first_difference(plain, found), std::nullopt);
    } catch (const BudgetExceeded&) {
      return;  // the results are pinned and do not fit
    }
  }
  ADD_FAILURE() << "what was written by hand was evicted";
}

// A sum over batches. With recipes, each one would hold another batch.
TEST(CustomFunctionWrites, to_a_sum_over_many_batches_hold_few_of_them) {
  const torch::NoGradGuard no_grad;
  const at::Tensor weight = torch::randn({kSide, kSide});
  std::int64_t most_recipes = 0;
  const auto sum = [&] {
    torch::manual_seed(2);
    at::Tensor total = torch::zeros({kSide, kSide});
    for (int i = 0; i < 100; ++i) {
      total.add_(torch::randn({kSide, kSide}).mm(weight).tanh());
      most_recipes = std::max(most_recipes, engine::Engine::instance().recorder_bytes());
    }
    return bytes_of({total});
  };
  const ByteLists plain = sum();
  memory::trim();
  Scope scope({.budget = Bytes(memory::usage().live + 64 * kTensor), .policy = Online{}});
  EXPECT_EQ(test::first_difference(plain, sum()), std::nullopt);
  EXPECT_LT(most_recipes, 12 * 1024) << "of four batches at most";
  scope.end();
}

// The state of an optimizer, with an average of the weights beside it.
TEST(CustomFunctionWrites, leave_the_state_of_optimizers_given) {
  const auto train = [](bool scoped) {
    torch::manual_seed(3);
    const at::Tensor weight = torch::randn({kSide, kSide}).requires_grad_();
    const at::Tensor average = weight.detach().clone();
    torch::optim::Adam adam({weight}, torch::optim::AdamOptions(0.01).amsgrad(true));
    for (int step = 0; step < 6; ++step) {
      memory::trim();
      std::optional<Scope> scope;
      if (scoped) {
        scope.emplace(Options{.budget = Bytes(memory::usage().live + 8 * kTensor)});
      }
      adam.zero_grad();
      weight.tanh().tanh().tanh().tanh().tanh().sum().backward();
      adam.step();
      {
        const torch::NoGradGuard no_grad;
        average.mul_(0.9).add_(weight, 0.1);
      }
      if (scope) {
        scope->end();
        EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0);
      }
    }
    return bytes_of({weight, average});
  };
  EXPECT_EQ(test::first_difference(train(false), train(true)), std::nullopt);
}

}  // namespace
}  // namespace neap
