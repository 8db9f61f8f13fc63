// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a selection costs: the memory of the results that it keeps, and the operators that still run
// again. Rules, the memory limit of CheckpointOptions, and the budget of a Scope.
#include "checkpoint/kept_results.h"
#include "checkpoint/squares.h"
#include "memory/allocator.h"

#include <neap/neap.h>
#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap {
namespace {

using namespace kept_results;
using namespace squares;

TEST_F(Selection, never_runs_a_kept_operator_again_though_nobody_saved_its_result) {
  const at::Tensor weight = square(3);
  const Function fn = [&](const at::Tensor& x) {
    // softmax saves its own result. The product and its half are dead when the region closes.
    return (x.mm(weight) * 0.5).softmax(-1).exp();
  };
  const Outcome outcome = run(CheckpointOptions::save_compute(), fn);
  EXPECT_EQ(outcome.kept, 1) << "softmax in place of the product";
  EXPECT_EQ(outcome.replays, 0);
  expect_bits(outcome, fn);
}

TEST_F(Selection, must_recompute_holds_also_where_a_kept_operator_has_to_run_again_for_it) {
  const at::Tensor weight = square(3);
  const Function fn = [&](const at::Tensor& x) { return (x.mm(weight) * 0.5).softmax(-1).exp(); };
  CheckpointOptions options = CheckpointOptions::save_compute();
  options.rules.push_back({.op = "aten::_softmax", .policy = CheckpointPolicy::MustRecompute});
  const Outcome outcome = run(options, fn);
  EXPECT_EQ(outcome.kept, 0);
  EXPECT_EQ(outcome.replays, 3) << "the product, its half and softmax";
  expect_bits(outcome, fn);
}

TEST_F(Selection, a_tag_on_what_nobody_saved_keeps_what_was_made_from_it) {
  const at::Tensor weight = square(3);
  const Function fn = [&](const at::Tensor& x) {
    const at::Tensor product = set_checkpoint_policy(x.mm(weight), CheckpointPolicy::MustSave);
    return (product * 0.5).softmax(-1).exp();
  };
  const Outcome outcome = run(CheckpointOptions{}, fn);
  EXPECT_EQ(outcome.kept, 1) << "softmax in place of the product";
  EXPECT_EQ(outcome.replays, 0);
}

TEST_F(Selection, keeping_products_and_convolutions_never_takes_more_than_no_checkpoint) {
  torch::manual_seed(4);
  nn::TransformerBlock block(64, 4, 0.1, /*causal=*/true);
  nn::ResidualBlock residual(8, 0.1);
  const at::Tensor tokens = torch::randn({2, 32, 64}), pictures = torch::randn({2, 8, 16, 16});
  const auto peak_and_held = [&](const std::function<at::Tensor()>& forward) {
    memory::reset_peak();
    const std::int64_t before = live();
    at::Tensor y = forward();
    const std::int64_t held = live() - before;
    y.sum().backward();
    return std::pair(memory::usage().peak - before, held);
  };
  const CheckpointOptions compute = CheckpointOptions::save_compute();
  for (const bool transformer : {true, false}) {
    const auto plain = [&] {
      return transformer ? block->forward(tokens) : residual->forward(pictures);
    };
    plain().sum().backward();  // makes the gradients
    torch::manual_seed(5);
    const auto [plain_peak, plain_held] = peak_and_held(plain);
    torch::manual_seed(5);
    const Scope scope;
    const auto [peak, held] = peak_and_held([&] { return custom_checkpoint(compute, plain); });
    EXPECT_LE(held, plain_held);
    EXPECT_LE(peak, plain_peak);
    EXPECT_LT(held, plain_held) << "something can always go";
    EXPECT_GT(scope.stats().replays, 0);
  }
}

TEST_F(Selection, replays_no_product_and_no_convolution_that_it_keeps) {
  torch::manual_seed(4);
  nn::TransformerBlock block(64, 4, 0.1, /*causal=*/true);
  const at::Tensor tokens = torch::randn({2, 32, 64});
  const auto replays = [&](const CheckpointOptions& options) {
    Scope scope;
    custom_checkpoint(options, [&] { return block->forward(tokens); }).sum().backward();
    scope.end();
    return scope.stats().replays;
  };
  std::int64_t products = 0;
  CheckpointOptions count;
  count.policy = [&](const CheckpointCandidate& candidate) -> std::optional<CheckpointPolicy> {
    if (candidate.op == "aten::mm" || candidate.op == "aten::bmm") ++products;
    return std::nullopt;
  };
  const std::int64_t all = replays(count);
  EXPECT_EQ(products, 6) << "qkv, scores, mixed, project, up, down";
  // `down` runs again in neither case: the backward does not read its result.
  EXPECT_LE(replays(CheckpointOptions::save_compute()), all - (products - 1));
}

TEST_F(Selection, chooses_by_recompute_time_and_importance_what_fits_into_the_room) {
  Net net;
  name_layers(net);
  const Function fn = [&](const at::Tensor& x) { return net.forward(x); };
  for (int room = 0; room <= 3; ++room) {
    const Outcome outcome = run({.keep_at_most = Bytes(room * kTensor)}, fn);
    EXPECT_EQ(outcome.kept, room);
    EXPECT_EQ(outcome.replays, 2 * (3 - room));
  }
  EXPECT_EQ(run({.free_at_least = Bytes(kTensor)}, fn).kept, 2);
  EXPECT_EQ(run({.free_at_least = Bytes(kTensor + 1)}, fn).kept, 1);
  EXPECT_EQ(run({.free_at_least = Bytes(100 * kTensor)}, fn).kept, 0);
  // There is room for one result, and the layer's importance decides which. The report names it.
  for (const std::string wanted : {"layer0", "layer1", "layer2"}) {
    const CheckpointOptions options{.keep_at_most = Bytes(kTensor),
                                    .importance = {{wanted, 1000}, {"*", 1e-6}}};
    const at::Tensor x = square(1).requires_grad_();
    Scope scope({.observe = true});
    const at::Tensor y = custom_checkpoint(options, fn, x);
    for (const SavedStorage& storage : saved_report(y).storages) {
      if (storage.op != "aten::tanh") continue;
      EXPECT_EQ(storage.state == SavedStorage::State::Kept, storage.layer == wanted)
          << storage.layer;
    }
  }
  EXPECT_EQ(run({.keep_at_most = Bytes(3 * kTensor), .importance = {{"layer1", 0}}}, fn).kept, 2)
      << "what has no importance goes also where there is room";
}

// The cost of a result is the time of all operators that must run again to restore it. They are
// more than its own operator when its inputs are evicted too.
TEST_F(Selection, counts_what_must_run_again_before_a_result) {
  const at::Tensor weight = torch::eye(kSide);
  const Function fn = [&](const at::Tensor& x) {
    at::Tensor far = x;
    for (int i = 0; i < 200; ++i) far = far.mm(weight);  // no operator saves it
    return x.logcumsumexp(1) + far.reciprocal();
  };
  // The cost of an operator is the least time that was measured. One measurement is not enough: an
  // interrupt may last longer than the whole region.
  for (int i = 0; i < 3; ++i) run({.keep_at_most = Bytes(kTensor)}, fn);
  const Outcome outcome = run({.keep_at_most = Bytes(kTensor)}, fn);
  EXPECT_EQ(outcome.kept, 1);
  EXPECT_EQ(outcome.replays, 1) << "logcumsumexp alone, which is dearer than reciprocal by itself";
  expect_bits(outcome, fn);
}

TEST_F(Selection, must_save_holds_against_a_budget_and_prefer_save_gives_way) {
  const at::Tensor x = square(1).requires_grad_();
  const auto kept_in_budget = [&](CheckpointPolicy policy) {
    memory::trim();
    Scope scope({.budget = Bytes(live() + 6 * kTensor), .policy = Online{}});
    at::Tensor a;
    const at::Tensor y = custom_checkpoint(
        CheckpointOptions{.rules = {{.op = "aten::tanh", .policy = policy}}},
        [&](const at::Tensor& in) {
          a = in.tanh();
          return a.exp();
        },
        x);
    std::vector<at::Tensor> more = {y};
    for (int i = 0; i < 12; ++i) more.push_back(more.back().sin());
    bool there = true;
    try {
      (void)a.const_data_ptr();
    } catch (const c10::Error&) {
      there = false;
    }
    more.clear();
    return there;
  };
  EXPECT_TRUE(kept_in_budget(CheckpointPolicy::MustSave));
  EXPECT_FALSE(kept_in_budget(CheckpointPolicy::PreferSave));
}

}  // namespace
}  // namespace neap
