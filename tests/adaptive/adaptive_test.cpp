// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// AdaptiveCheckpointing: what it decides follows from bytes that were counted, on the CPU, and
// changes no bit.
#include "engine/engine.h"
#include "memory/allocator.h"
#include "support/bytes.h"

#include <neap/models.h>
#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace neap {
namespace {

constexpr std::int64_t kWidth = 64;
constexpr int kLayers = 8;

// Layers that keep six tensors each for the backward, and a forward that ends with all of them.
struct Net : torch::nn::Module {
  Net() {
    torch::manual_seed(3);
    for (int i = 0; i < kLayers; ++i) {
      auto linear = register_module("layer" + std::to_string(i), torch::nn::Linear(kWidth, kWidth));
      layers.emplace_back([linear](const at::Tensor& x) mutable {
        return torch::dropout(linear->forward(x).tanh().exp().sin(), 0.1, true) + x;
      });
    }
  }
  std::vector<std::function<at::Tensor(const at::Tensor&)>> layers;
};

at::Tensor input(std::int64_t rows) {
  torch::manual_seed(4);
  return torch::randn({rows, kWidth});
}

at::Tensor plain_forward(Net& net, at::Tensor x) {
  for (auto& layer : net.layers) x = layer(x);
  return x;
}

// By how much `live` grows in a plain forward.
std::int64_t plain_growth(Net& net, std::int64_t rows) {
  const at::Tensor x = input(rows);
  const std::int64_t before = memory::usage().live;
  const at::Tensor y = plain_forward(net, x);
  return memory::usage().live - before;
}

std::int64_t checkpointed(const AdaptiveCheckpointing& adaptive) {
  return std::ranges::count(adaptive.decisions(), true, &AdaptiveDecision::checkpointed);
}

class Adaptive : public testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0); }

  // Forward and backward; returns what is live when the forward ends, above what was before.
  std::int64_t step(AdaptiveCheckpointing& adaptive, std::int64_t rows) {
    const at::Tensor x = input(rows);
    const std::int64_t before = memory::usage().live;
    const at::Tensor y = adaptive.forward_with_adaptive_checkpoint(net_, x);
    const std::int64_t after = memory::usage().live;
    y.sum().backward();
    net_.zero_grad();
    return after - before;
  }

  Net net_;
};

TEST_F(Adaptive, checkpoints_nothing_where_all_fits_and_as_much_as_it_must_where_it_does_not) {
  const std::int64_t all = plain_growth(net_, 256);
  const at::Tensor x = input(256);  // as step() holds
  std::int64_t before = 0;
  for (const int percent : {120, 80, 60, 40}) {
    SCOPED_TRACE(percent);
    const std::int64_t base = memory::usage().live + memory::footprint(256 * kWidth * 4);
    AdaptiveCheckpointing adaptive(Bytes(base + all * percent / 100));
    for (int i = 0; i < 3; ++i) step(adaptive, 256);  // learns
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
    // tanh, exp (read by itself and by sin), the scaled mask, the sum; the result of sin and the
    // product are read by nobody.
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
    // Other parts of the program take a little more, and give it back.
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
      for (int j = 0; j < 20; ++j) torch::mm(large, large);  // some 50 times as long as the others
      const torch::AutoGradMode grad(true);
      return layer(in);
    };
  }
  const std::int64_t all = plain_growth(net_, 256);
  const at::Tensor x = input(256);
  const std::int64_t base = memory::usage().live + memory::footprint(256 * kWidth * 4);
  AdaptiveCheckpointing adaptive(Bytes(base + all * 130 / 100));
  for (int i = 0; i < 3; ++i) {  // a layer's time is the least of them
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
  // Twice the rows do not fit. It has never seen them, and still ends its first forward with them
  // where it must.
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

TEST_F(Adaptive, takes_a_sequential_and_a_vector_of_modules_and_logs_what_it_decided) {
  torch::nn::Sequential sequential(torch::nn::Linear(kWidth, kWidth), torch::nn::Tanh(),
                                   torch::nn::Linear(kWidth, 8));
  AdaptiveCheckpointing adaptive(Bytes(1));
  const at::Tensor x = input(32);
  const at::Tensor y = adaptive.forward_with_adaptive_checkpoint(sequential, x);
  EXPECT_TRUE(torch::equal(y, sequential->forward(x)));
  y.sum().backward();
  ASSERT_EQ(adaptive.decisions().size(), 3U);
  const std::string text = adaptive.text();
  for (const char* const part :
       {"layer 0: checkpointed, ", "layer 2: ", " live", "threshold 1 B"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  std::vector<torch::nn::Linear> modules = {torch::nn::Linear(kWidth, kWidth)};
  EXPECT_TRUE(
      torch::equal(adaptive.forward_with_adaptive_checkpoint(modules, x), modules[0]->forward(x)));
}

// ---- As the slides have it ----

// A ModuleList as a member, as a program translates it.
struct ListModelImpl : torch::nn::Module {
  ListModelImpl() {
    register_module("layers", layers);
    for (int i = 0; i < 4; ++i) {
      layers->push_back(
          torch::nn::Sequential(torch::nn::Linear(kWidth, kWidth), torch::nn::GELU()));
    }
  }
  at::Tensor forward(at::Tensor x) {
    for (std::size_t i = 0; i < layers->size(); ++i) {
      x = layers->at<torch::nn::SequentialImpl>(i).forward(x);
    }
    return x;
  }
  torch::nn::ModuleList layers;
};
TORCH_MODULE(ListModel);

TEST_F(Adaptive, takes_a_model_with_a_module_list_as_it_is_as_holder_and_by_pointer) {
  ListModel model;
  const ListModel& constant = model;
  const auto pointer = model.ptr();
  const at::Tensor x = input(32), expected = model->forward(x);
  const auto expect_same = [&](auto& form) {
    AdaptiveCheckpointing adaptive(Bytes(1));
    const at::Tensor y = adaptive.forward_with_adaptive_checkpoint(form, x);
    EXPECT_EQ(test::first_difference(test::bytes_of({expected}), test::bytes_of({y})),
              std::nullopt);
    EXPECT_EQ(checkpointed(adaptive), 4);
    y.sum().backward();
  };
  expect_same(model);
  expect_same(constant);
  expect_same(*model);
  expect_same(pointer);
  expect_same(model->layers);
}

TEST_F(Adaptive, takes_the_checkpointed_model_of_the_slides) {
  CheckpointedModel model(
      CheckpointedModelOptions{.num_layers = 5, .width = kWidth, .use_checkpoint = false});
  const at::Tensor x = input(32);
  AdaptiveCheckpointing adaptive(Bytes(1));
  const at::Tensor y = adaptive.forward_with_adaptive_checkpoint(model, x);
  EXPECT_EQ(test::first_difference(test::bytes_of({model->forward(x)}), test::bytes_of({y})),
            std::nullopt);
  EXPECT_EQ(adaptive.decisions().size(), 5U);
}

TEST_F(Adaptive, takes_a_number_for_so_many_megabytes_and_1000_when_nothing_is_said) {
  const auto threshold = [](AdaptiveCheckpointing adaptive) {
    std::vector<torch::nn::Linear> layer{torch::nn::Linear(kWidth, kWidth)};
    adaptive.forward_with_adaptive_checkpoint(layer, input(1));
    const std::string text = adaptive.text();
    return text.substr(text.find("threshold"));
  };
  EXPECT_EQ(threshold(AdaptiveCheckpointing()), "threshold 1000.0 MiB\n");
  EXPECT_EQ(threshold(AdaptiveCheckpointing(12)), "threshold 12.0 MiB\n");
  EXPECT_EQ(threshold(AdaptiveCheckpointing(0.5)), "threshold 512.0 KiB\n");
  EXPECT_EQ(threshold(AdaptiveCheckpointing(std::int64_t{64}, {.hysteresis = 0.5})),
            "threshold 64.0 MiB\n");
  static_assert(!std::is_constructible_v<AdaptiveCheckpointing, bool>, "a flag is no number of MB");
}

TEST_F(Adaptive, says_by_the_slides_rule_whether_a_layer_of_that_input_passes_the_threshold) {
  const at::Tensor x = input(32);
  constexpr std::int64_t kInput = 32 * kWidth * 4;
  const std::int64_t live = memory::usage().live;
  AdaptiveCheckpointing enough(Bytes(live + kInput)), less(Bytes(live + kInput - 1));
  EXPECT_FALSE(enough.should_checkpoint(0, {32, kWidth}));
  EXPECT_FALSE(enough.should_checkpoint(1, x.sizes()));
  EXPECT_TRUE(enough.should_checkpoint(2, {33, kWidth}));
  EXPECT_TRUE(less.should_checkpoint(0, x.sizes()));
  EXPECT_EQ(enough.checkpoint_map(),
            (std::map<std::int64_t, bool>{{0, false}, {1, false}, {2, true}}));
  EXPECT_TRUE(enough.should_checkpoint(3, {std::int64_t{1} << 40, std::int64_t{1} << 40}))
      << "more than can be counted";
  // The other way to decide is in the same map.
  less.forward_with_adaptive_checkpoint(net_, x).sum().backward();
  ASSERT_EQ(less.checkpoint_map().size(), kLayers);
  for (const AdaptiveDecision& decision : less.decisions()) {
    EXPECT_EQ(less.checkpoint_map().at(decision.layer), decision.checkpointed);
  }
}

TEST_F(Adaptive, refuses_a_threshold_and_a_hysteresis_that_mean_nothing) {
  const auto refusal = [](const std::function<void()>& call) -> std::string {
    try {
      call();
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "not refused";
  };
  EXPECT_EQ(
      refusal([] { AdaptiveCheckpointing(Bytes(0)); }),
      "AdaptiveCheckpointing: memory_threshold is 0 bytes; expected what may be live when the "
      "forward ends, 1 or more");
  EXPECT_EQ(refusal([] { AdaptiveCheckpointing(Bytes(1), {.hysteresis = 1}); }),
            "AdaptiveCheckpointing: hysteresis is 1.000000; expected 0 or more and less than 1");
  for (const double megabytes : {0.0, -1.0, 1e-9, 1e18, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(refusal([=] { AdaptiveCheckpointing adaptive(megabytes); }),
              "AdaptiveCheckpointing: memory_threshold_mb is " + std::to_string(megabytes) +
                  "; expected a number of MB above 0, or neap::Bytes for a number of bytes");
  }
  EXPECT_EQ(refusal([] {
              AdaptiveCheckpointing(1).should_checkpoint(3, {2, -5});
            }),
            "AdaptiveCheckpointing: layer 3 has an input with an extent of -5; expected the sizes "
            "of a tensor");
}

}  // namespace
}  // namespace neap
