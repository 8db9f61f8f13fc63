// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Memory can run out at any allocation, also during a replay. Here each allocation of two steps
// fails in turn, once or forever. The error must have a type, nothing may leak, and the next step
// must be right.
#include "engine/engine.h"
#include "memory/allocator.h"
#include "support/bytes.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <iostream>
#include <string>
#include <vector>

namespace neap {
namespace {

// A step small enough to run a thousand times: parameters, and a loss computed from them.
struct Small {
  std::string name;
  std::function<std::vector<at::Tensor>()> parameters;
  std::function<at::Tensor(const std::vector<at::Tensor>&)> loss;
};

std::vector<at::Tensor> leaves(std::initializer_list<std::vector<std::int64_t>> shapes) {
  std::vector<at::Tensor> all;
  for (const auto& shape : shapes) all.push_back(torch::randn(shape).mul_(0.3).requires_grad_());
  return all;
}

const std::vector<Small>& small_models() {
  static const std::vector<Small> all{
      {"linear",
       [] {
         return leaves({{24, 24}, {24, 24}, {24, 24}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = torch::ones({16, 24});
         for (int i = 0; i < 6; ++i) x = torch::tanh(x.mm(p[static_cast<std::size_t>(i) % 3]));
         return x.pow(2).sum();
       }},
      {"convolution",
       [] {
         return leaves({{4, 4, 3, 3}, {4, 4, 3, 3}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = torch::ones({2, 4, 8, 8});
         for (int i = 0; i < 4; ++i) {
           x = torch::relu(torch::conv2d(x, p[static_cast<std::size_t>(i) % 2], {}, 1, 1));
         }
         return x.mean();
       }},
      {"dropout",
       [] {
         return leaves({{32, 32}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = p[0];
         for (int i = 0; i < 5; ++i) x = torch::dropout(torch::sigmoid(x.mm(p[0])), 0.2, true);
         return x.sum();
       }},
      {"in place",
       [] {
         return leaves({{32, 16}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = p[0] * 2;
         for (int i = 0; i < 5; ++i) {
           x = torch::softmax(x, 1) + x;
           x.narrow(0, 0, 8).mul_(0.5);
           x.add_(x.tanh());
         }
         return x.pow(2).mean();
       }},
      {"checkpointed",
       [] {
         return leaves({{24, 24}, {24, 24}});
       },
       [](const std::vector<at::Tensor>& p) {
         at::Tensor x = torch::ones({16, 24});
         for (const at::Tensor& weight : p) {
           x = checkpoint(
               [&](const at::Tensor& in) { return torch::gelu(in.mm(weight)).mm(weight); }, x);
         }
         return x.pow(2).sum();
       }},
      {"double backward",
       [] {
         return leaves({{16, 16}, {16, 16}});
       },
       [](const std::vector<at::Tensor>& p) {
         const at::Tensor x = torch::ones({12, 16}).requires_grad_();
         const at::Tensor y = torch::tanh(torch::tanh(x.mm(p[0])).mm(p[1])).sum();
         const at::Tensor g = torch::autograd::grad({y}, {x}, {}, true, true)[0];
         return y + g.pow(2).sum();
       }},
  };
  return all;
}

// One step: computes the gradients of all parameters and updates them.
void step(const Small& model, std::vector<at::Tensor>& parameters) {
  for (at::Tensor& parameter : parameters) parameter.mutable_grad() = at::Tensor();
  model.loss(parameters).backward();
  const torch::NoGradGuard no_grad;
  for (at::Tensor& parameter : parameters) parameter.sub_(parameter.grad(), 0.1);
}

struct Outcome {
  test::ByteLists bytes;
  std::int64_t allocations = 0;
  bool failed = false;
};

// Runs two steps in one scope in which allocation `k` fails (0: none does). If it failed, runs both
// again from the start.
Outcome two_steps(const Small& model, std::int64_t budget, std::int64_t k, bool for_ever) {
  Outcome outcome;
  for (int attempt = 0; attempt < 2; ++attempt) {
    torch::manual_seed(11);
    std::vector<at::Tensor> parameters = model.parameters();
    const std::int64_t before = memory::usage().allocations;
    if (attempt == 0) memory::fail_allocation(k, for_ever);
    try {
      Options options{.policy = Online{}};
      if (budget > 0) options.budget = Bytes(budget);
      Scope scope(options);
      step(model, parameters);
      step(model, parameters);
      scope.end();
    } catch (const Error&) {
      outcome.failed = true;
    } catch (const std::exception& error) {
      // LibTorch wraps what its threads and boxed kernels throw. Its text still contains ours.
      outcome.failed = true;
      EXPECT_NE(std::string(error.what()).find("a test asked for this failure"), std::string::npos)
          << error.what();
    }
    memory::fail_allocation(0, false);
    outcome.allocations = memory::usage().allocations - before;
    if (outcome.failed && attempt == 0) continue;
    std::vector<at::Tensor> all = parameters;
    for (const at::Tensor& parameter : parameters) all.push_back(parameter.grad());
    outcome.bytes = test::bytes_of(all);
    break;
  }
  return outcome;
}

class AllocationFailure : public testing::TestWithParam<bool> {};

TEST_P(AllocationFailure, at_any_allocation_leaves_nothing_behind_and_the_next_step_right) {
  const bool for_ever = GetParam();
  for (const Small& model : small_models()) {
    SCOPED_TRACE(model.name);
    torch::manual_seed(11);
    test::ByteLists plain;
    std::int64_t budget = 0;
    {
      std::vector<at::Tensor> parameters = model.parameters();
      memory::trim();
      memory::reset_peak();
      const std::int64_t base = memory::usage().live;
      step(model, parameters);
      step(model, parameters);
      budget = base + (memory::usage().peak - base) * 6 / 10 + (64 << 10);
      std::vector<at::Tensor> all = parameters;
      for (const at::Tensor& parameter : parameters) all.push_back(parameter.grad());
      plain = test::bytes_of(all);
    }
    const Outcome without = two_steps(model, budget, 0, false);
    ASSERT_FALSE(without.failed);
    ASSERT_EQ(test::first_difference(plain, without.bytes), std::nullopt);
    ASSERT_LE(without.allocations, 600) << "two steps of at most 300 allocations each";
    const std::int64_t live = memory::usage().live;
    int failures = 0;
    for (std::int64_t k = 1; k <= without.allocations; ++k) {
      SCOPED_TRACE("allocation " + std::to_string(k));
      const Outcome outcome = two_steps(model, budget, k, for_ever);
      failures += outcome.failed ? 1 : 0;
      ASSERT_EQ(test::first_difference(plain, outcome.bytes), std::nullopt);
      ASSERT_EQ(memory::usage().live, live) << "leaked";
      ASSERT_EQ(engine::Engine::instance().recorder_bytes(), 0);
      engine::Engine::instance().validate();
      memory::validate();
    }
    std::cout << "  " << model.name << ": " << failures << " of " << without.allocations
              << " allocations failed\n";
    EXPECT_GT(failures, without.allocations / 2);
  }
}

INSTANTIATE_TEST_SUITE_P(OnceAndForEver, AllocationFailure, testing::Bool(),
                         [](const auto& info) { return info.param ? "for_ever" : "once"; });

}  // namespace
}  // namespace neap
