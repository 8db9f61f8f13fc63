// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What AdaptiveCheckpointing takes: forms of models, thresholds, and the sizes of an input. What it
// tells about its decisions, and what it refuses.
#include "adaptive/adaptive_steps.h"
#include "memory/allocator.h"
#include "support/bytes.h"

#include <neap/models.h>
#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace neap::test {
namespace {

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

// A model with its layers in a ModuleList, as a program translated from Python has them.
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
  // forward_with_adaptive_checkpoint() writes its decisions into the same map.
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
}  // namespace neap::test
