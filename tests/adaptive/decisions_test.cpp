// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Which layers AdaptiveCheckpointing checkpoints. The decisions follow from counted bytes, on the
// CPU, and they change no bit of a training.
#include "adaptive/adaptive_steps.h"
#include "memory/allocator.h"
#include "support/bytes.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace neap::test {
namespace {

TEST_F(Adaptive, checkpoints_nothing_where_all_fits_and_as_much_as_it_must_where_it_does_not) {
  const std::int64_t all = plain_growth(net_, 256);
  const at::Tensor x = input(256);  // step() holds one of the same size
  std::int64_t before = 0;
  for (const int percent : {120, 80, 60, 40}) {
    SCOPED_TRACE(percent);
    const std::int64_t base = memory::usage().live + memory::footprint(256 * kWidth * 4);
    AdaptiveCheckpointing adaptive(Bytes(base + all * percent / 100));
    for (int i = 0; i < 3; ++i) step(adaptive, 256);  // it measures the layers
    const std::int64_t grown = step(adaptive, 256);
    EXPECT_LE(grown, all * percent / 100);
    if (percent == 120) {
      EXPECT_EQ(checkpointed(adaptive), 0);
    } else {
      EXPECT_GT(checkpointed(adaptive), before);
    }
    before = checkpointed(adaptive);
  }
  EXPECT_LT(before, kLayers);
}

TEST_F(Adaptive, decides_from_what_layers_keep_and_not_from_their_input) {
  const std::int64_t base = memory::usage().live;
  AdaptiveCheckpointing adaptive(Bytes(base + plain_growth(net_, 256) * 2));
  step(adaptive, 256);
  const std::int64_t tensor = memory::footprint(256 * kWidth * 4);
  for (const AdaptiveDecision& decision : adaptive.decisions()) {
    // A layer keeps the results of tanh and exp, the scaled mask and the sum. The backward reads
    // neither the result of sin nor the product of dropout.
    EXPECT_EQ(decision.bytes, 4 * tensor) << decision.layer;
    EXPECT_GT(decision.ns, 0);
  }
}

TEST_F(Adaptive, measures_the_same_bytes_for_a_layer_that_it_checkpoints) {
  AdaptiveCheckpointing roomy(Bytes(std::int64_t{1} << 40)), tight(Bytes(1));
  step(roomy, 256);
  for (int i = 0; i < 2; ++i) step(tight, 256);
  EXPECT_EQ(checkpointed(tight), kLayers);
  for (std::size_t i = 0; i + 1 < kLayers; ++i) {
    EXPECT_EQ(tight.decisions()[i].bytes, roomy.decisions()[i].bytes) << i;
  }
}

TEST_F(Adaptive, keeps_its_decisions_where_bytes_waver_around_the_threshold) {
  const std::int64_t all = plain_growth(net_, 256);
  const at::Tensor x = input(256);
  const std::int64_t base = memory::usage().live + memory::footprint(256 * kWidth * 4);
  AdaptiveCheckpointing adaptive(Bytes(base + all * 90 / 100), {.hysteresis = 0.2});
  for (int i = 0; i < 3; ++i) step(adaptive, 256);
  const std::int64_t decided = checkpointed(adaptive);
  ASSERT_GT(decided, 0);
  const std::int64_t waver = all * 4 / 100;
  at::Tensor more;
  std::int64_t before = 0;
  for (int i = 0; i < 6; ++i) {
    // In every other step, another part of the program holds a few more bytes.
    more = i % 2 == 0 ? torch::empty({waver}, torch::kByte) : at::Tensor();
    step(adaptive, 256);
    EXPECT_GE(checkpointed(adaptive), decided);
    if (i > 0) {
      EXPECT_EQ(checkpointed(adaptive), before) << "in turn " << i;
    }
    before = checkpointed(adaptive);
  }
  const std::int64_t settled = checkpointed(adaptive);
  more = at::Tensor();
  step(adaptive, 256);
  EXPECT_EQ(checkpointed(adaptive), settled) << "a little room is no reason to change";
}

TEST_F(Adaptive, changes_nothing_back_and_forth_as_it_would_without_hysteresis) {
  const std::int64_t all = plain_growth(net_, 256);
  const at::Tensor x = input(256);
  const std::int64_t base = memory::usage().live + memory::footprint(256 * kWidth * 4);
  const auto changes = [&](double hysteresis) {
    int count = 0;
    for (std::int64_t percent = 60; percent < 96; percent += 2) {
      AdaptiveCheckpointing adaptive(Bytes(base + all * percent / 100), {.hysteresis = hysteresis});
      at::Tensor more;
      std::int64_t before = 0;
      for (int i = 0; i < 10; ++i) {
        more = i % 2 == 0 ? torch::empty({all * 4 / 100}, torch::kByte) : at::Tensor();
        step(adaptive, 256);
        if (i > 4 && checkpointed(adaptive) != before) ++count;
        before = checkpointed(adaptive);
      }
    }
    return count;
  };
  EXPECT_EQ(changes(0.2), 0);
  EXPECT_GT(changes(0), 0);
}

TEST_F(Adaptive, decides_anew_within_a_forward_in_which_a_layer_takes_more_than_it_used_to) {
  const std::int64_t all = plain_growth(net_, 256);
  const at::Tensor x = input(256);
  const std::int64_t base = memory::usage().live + memory::footprint(256 * kWidth * 4);
  AdaptiveCheckpointing adaptive(Bytes(base + all * 105 / 100));
  at::Tensor more;
  std::int64_t bytes = 0;
  const auto first = net_.layers[0];
  net_.layers[0] = [&](const at::Tensor& in) {
    more = torch::empty({bytes}, torch::kByte);
    return first(in);
  };
  for (int i = 0; i < 2; ++i) step(adaptive, 256);
  EXPECT_EQ(checkpointed(adaptive), 0);
  bytes = all / 4;
  EXPECT_LE(step(adaptive, 256), all * 105 / 100);
  EXPECT_FALSE(adaptive.decisions()[0].checkpointed) << "it was not known then";
  EXPECT_GT(checkpointed(adaptive), 0);
}

TEST_F(Adaptive, checkpoints_the_layers_that_cost_the_least_time_a_byte) {
  const at::Tensor large = torch::ones({384, 384});
  for (int i = 0; i < kLayers; i += 2) {
    const auto layer = net_.layers[static_cast<std::size_t>(i)];
    net_.layers[static_cast<std::size_t>(i)] = [layer, large](const at::Tensor& in) {
      const torch::NoGradGuard guard;
      for (int j = 0; j < 20; ++j) torch::mm(large, large);  // about 50 times the others' time
      const torch::AutoGradMode grad(true);
      return layer(in);
    };
  }
  const std::int64_t all = plain_growth(net_, 256);
  const at::Tensor x = input(256);
  const std::int64_t base = memory::usage().live + memory::footprint(256 * kWidth * 4);
  AdaptiveCheckpointing adaptive(Bytes(base + all * 130 / 100));
  for (int i = 0; i < 3; ++i) {  // its time is the least of three
    step(adaptive, 256);
    EXPECT_EQ(checkpointed(adaptive), 0);
  }
  const at::Tensor more = torch::empty({all / 2}, torch::kByte);
  step(adaptive, 256);
  EXPECT_GT(checkpointed(adaptive), 0);
  for (const AdaptiveDecision& decision : adaptive.decisions()) {
    EXPECT_FALSE(decision.checkpointed && decision.layer % 2 == 0) << decision.layer;
  }
}

TEST_F(Adaptive, works_when_shapes_change_and_scales_what_it_knows) {
  const std::int64_t all = plain_growth(net_, 256);
  const at::Tensor x = input(512);
  const std::int64_t base = memory::usage().live + memory::footprint(512 * kWidth * 4);
  AdaptiveCheckpointing adaptive(Bytes(base + all * 110 / 100));
  step(adaptive, 256);
  step(adaptive, 256);
  EXPECT_EQ(checkpointed(adaptive), 0);
  // Twice the rows do not fit. The first forward with them must still end below the threshold.
  EXPECT_LE(step(adaptive, 512), all * 110 / 100);
  EXPECT_GT(checkpointed(adaptive), 0);
  EXPECT_GT(adaptive.decisions()[0].predicted, 0);
  step(adaptive, 256);
  EXPECT_EQ(checkpointed(adaptive), 0);
}

TEST_F(Adaptive, gives_the_bits_of_the_plain_model_also_inside_a_budget) {
  const auto train = [](int kind) {  // 0: plain, 1: adaptive, 2: in a scope too
    Net net;
    torch::optim::Adam optimizer(net.parameters(), torch::optim::AdamOptions(1e-3));
    AdaptiveCheckpointing adaptive(Bytes(memory::usage().live + (1 << 20)));
    const at::Tensor x = input(256);
    torch::manual_seed(9);
    std::vector<at::Tensor> left;
    for (int i = 0; i < 5; ++i) {
      optimizer.zero_grad();
      memory::trim();
      std::optional<Scope> scope;
      const Bytes budget(memory::usage().reserved + (1 << 20));
      if (kind == 2) scope.emplace(Options{.budget = budget});
      const at::Tensor y =
          kind == 0 ? plain_forward(net, x) : adaptive.forward_with_adaptive_checkpoint(net, x);
      const at::Tensor loss = y.pow(2).mean();
      loss.backward();
      optimizer.step();
      left.push_back(loss.detach());
      if (!scope) continue;
      scope->end();
      EXPECT_LE(scope->stats().peak_bytes, budget.count());
    }
    if (kind == 1) {
      EXPECT_GT(checkpointed(adaptive), 0);
    }
    for (const at::Tensor& parameter : net.parameters()) {
      left.push_back(parameter);
      left.push_back(parameter.grad());
    }
    left.push_back(torch::rand({4}));
    return test::bytes_of(left);
  };
  const test::ByteLists plain = train(0);
  EXPECT_EQ(test::first_difference(plain, train(1)), std::nullopt);
  EXPECT_EQ(test::first_difference(plain, train(2)), std::nullopt);
}

}  // namespace
}  // namespace neap::test
