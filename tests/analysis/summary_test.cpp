// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// summarize(): FLOPs as formulas by hand have them, and the layers' outputs, parameters and
// activations.
#include "analysis/flops.h"

#include <neap/analysis.h>
#include <neap/checkpoint.h>
#include <neap/nn.h>
#include <neap/summary.h>
#include <neap/timeline.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace neap {
namespace {

using analysis::LayerSummary;
using testing::ElementsAre;
using testing::IsEmpty;
namespace nn = torch::nn;

graph::Trace trace_of(const train::Model& model, const at::Tensor& x) {
  name_layers(model.module());
  const auto step = [&] {
    model.module().zero_grad();
    model.forward(x).sum().backward();
  };
  step();
  return trace_step(step);
}

std::map<std::string, LayerSummary> summary_of(const train::Model& model, const at::Tensor& x) {
  std::map<std::string, LayerSummary> by_name;
  for (LayerSummary& layer : summarize(model, x, trace_of(model, x))) {
    by_name[layer.name] = layer;
  }
  return by_name;
}

TEST(Summary, of_linear_layers) {
  const neap::nn::MLP model(
      neap::nn::MLPOptions{.in = 12, .width = 16, .out = 10, .layers = 3, .activate_last = false});
  const auto layers = summary_of(model, torch::randn({4, 12}));
  const LayerSummary& whole = layers.at("");
  EXPECT_EQ(whole.kind, "MLP");
  EXPECT_EQ(whole.flops, 2 * 4 * (12 * 16 + 16 * 16 + 16 * 10));
  EXPECT_EQ(whole.parameters, 12 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10);
  EXPECT_EQ(whole.parameter_bytes, 4 * whole.parameters);
  EXPECT_THAT(whole.output, ElementsAre(4, 10));
  const LayerSummary& first = layers.at("block0.0");
  EXPECT_EQ(first.kind, "Linear");
  EXPECT_EQ(first.flops, 2 * 4 * 12 * 16);
  EXPECT_EQ(first.parameters, 12 * 16 + 16);
  EXPECT_THAT(first.output, ElementsAre(4, 16));
  EXPECT_EQ(layers.at("block0").flops, first.flops);
  EXPECT_EQ(layers.at("block0").parameters, first.parameters);
  EXPECT_THAT(layers.at("block0").output, ElementsAre(4, 16));
  // It has no parameter that an operator could read.
  EXPECT_EQ(layers.at("block0.1").kind, "GELU");
  EXPECT_FALSE(layers.at("block0.1").seen);
  EXPECT_THAT(layers.at("block0.1").output, IsEmpty());
}

TEST(Summary, of_convolutions) {
  const neap::nn::ResNet model(
      neap::nn::ResNetOptions{.channels = 8, .blocks = 2, .downsample_after = {0}});
  const auto layers = summary_of(model, torch::randn({2, 3, 16, 16}));
  constexpr std::int64_t kStem = 2 * 2 * 256 * (3 * 8 * 9);
  constexpr std::int64_t kWide = 2 * 2 * 256 * (8 * 8 * 9);
  constexpr std::int64_t kDown = 2 * 2 * 64 * (8 * 16 * 9);
  constexpr std::int64_t kSmall = 2 * 2 * 64 * (16 * 16 * 9);
  EXPECT_EQ(layers.at("stem").flops, kStem);
  EXPECT_EQ(layers.at("block0").flops, 2 * kWide + kDown);
  EXPECT_EQ(layers.at("block0.0").flops, 2 * kWide);
  EXPECT_EQ(layers.at("block0.0.conv1").flops, kWide);
  EXPECT_EQ(layers.at("block0.1").flops, kDown);
  EXPECT_EQ(layers.at("block1").flops, 2 * kSmall);
  EXPECT_EQ(layers.at("classifier").flops, 2 * 2 * 16 * 10);
  EXPECT_EQ(layers.at("").flops, kStem + 2 * kWide + kDown + 2 * kSmall + 2 * 2 * 16 * 10);
  EXPECT_THAT(layers.at("block0.0.norm2").output, ElementsAre(2, 8, 16, 16));
  EXPECT_THAT(layers.at("block0.0").output, ElementsAre(2, 8, 16, 16));
  EXPECT_THAT(layers.at("block0").output, ElementsAre(2, 16, 8, 8));
  EXPECT_EQ(layers.at("block0.0.norm1").flops, 0);
  EXPECT_EQ(layers.at("block0.0.conv1").parameters, 8 * 8 * 9);
}

TEST(Summary, of_attention_written_out) {
  constexpr std::int64_t kRows = 2, kTokens = 8, kWidth = 16, kHeads = 4, kWords = 64;
  const neap::nn::GPT model(neap::nn::GPTOptions{
      .vocabulary = kWords, .context = kTokens, .width = kWidth, .heads = kHeads, .layers = 2});
  const auto layers = summary_of(model, torch::randint(kWords, {kRows, kTokens}));
  constexpr std::int64_t kPositions = kRows * kTokens;
  constexpr std::int64_t kAttention = 2 * (2 * kRows * kTokens * kTokens * kWidth);
  constexpr std::int64_t kBlock = 2 * kPositions * (3 + 1 + 4 + 4) * kWidth * kWidth + kAttention;
  EXPECT_EQ(layers.at("block0").flops, kBlock);
  EXPECT_EQ(layers.at("block1").flops, kBlock);
  EXPECT_EQ(layers.at("scores").flops, 2 * kPositions * kWidth * kWords);
  EXPECT_EQ(layers.at("").flops, 2 * kBlock + 2 * kPositions * kWidth * kWords);
  // The products of attention read no parameter, so they count for the layer before them.
  EXPECT_EQ(layers.at("block0.to_qkv").flops, 2 * kPositions * 3 * kWidth * kWidth + kAttention);
  EXPECT_EQ(layers.at("block0.up").flops, 2 * kPositions * 4 * kWidth * kWidth);
  EXPECT_EQ(layers.at("words").flops, 0);
  EXPECT_THAT(layers.at("block0.to_qkv").output, ElementsAre(kRows, kTokens, 3 * kWidth));
  EXPECT_THAT(layers.at("block1").output, ElementsAre(kRows, kTokens, kWidth));
  EXPECT_THAT(layers.at("words").output, ElementsAre(kRows, kTokens, kWidth));
}

TEST(Summary, counts_groups_strides_and_transposed_convolutions) {
  nn::Sequential model(nn::Conv1d(nn::Conv1dOptions(6, 4, 3).groups(2).dilation(2).bias(false)),
                       nn::ConvTranspose1d(nn::ConvTranspose1dOptions(4, 2, 5).stride(3)));
  const auto layers = summary_of(model, torch::randn({7, 6, 20}));
  EXPECT_THAT(layers.at("0").output, ElementsAre(7, 4, 16));
  EXPECT_EQ(layers.at("0").flops, 2 * 7 * 16 * (4 * 3 * 3));
  EXPECT_THAT(layers.at("1").output, ElementsAre(7, 2, 50));
  EXPECT_EQ(layers.at("1").flops, 2 * 7 * 16 * (4 * 2 * 5));
}

struct RecurrentImpl : nn::Module {
  RecurrentImpl() { register_module("lstm", lstm); }
  at::Tensor forward(const at::Tensor& x) { return std::get<0>(lstm->forward(x)); }
  nn::LSTM lstm{nn::LSTMOptions(6, 8).num_layers(2).bidirectional(true).batch_first(true)};
};
TORCH_MODULE(Recurrent);

TEST(Summary, of_a_recurrent_layer) {
  const auto layers = summary_of(Recurrent(), torch::randn({3, 5, 6}));
  constexpr std::int64_t kGates = 4 * 8;
  EXPECT_EQ(layers.at("lstm").flops,
            2 * 3 * 5 * 2 * (kGates * 6 + kGates * 8 + kGates * 16 + kGates * 8));
  EXPECT_THAT(layers.at("lstm").output, ElementsAre(3, 5, 16));
}

TEST(Summary, of_fused_attention) {
  const std::array<c10::IValue, 3> values{torch::randn({2, 3, 4, 8}), torch::randn({2, 3, 5, 8}),
                                          torch::randn({2, 3, 5, 6})};
  const c10::ArrayRef<const c10::IValue> arguments(values.data(), values.size());
  EXPECT_EQ(analysis::flops_of("aten::_scaled_dot_product_flash_attention_for_cpu", arguments),
            2 * 2 * 3 * 4 * 5 * (8 + 6));
  // Arguments of other sizes than the rule knows have no count, and do not crash.
  EXPECT_EQ(analysis::flops_of("aten::mm", arguments), std::nullopt);
  EXPECT_EQ(analysis::flops_of("aten::convolution", arguments), std::nullopt);
  EXPECT_EQ(analysis::flops_of("aten::relu", arguments), std::nullopt);
}

TEST(Summary, has_the_trace_s_bytes_and_times_and_changes_nothing) {
  nn::Sequential model(nn::Linear(8, 8), nn::BatchNorm1d(8), nn::ReLU(), nn::Linear(8, 4));
  const at::Tensor x = torch::randn({16, 8});
  const graph::Trace trace = trace_of(model, x);
  const at::Tensor mean = model[1]->buffers()[0].clone();
  const at::Tensor gradient = model[0]->parameters()[0].grad();
  ASSERT_TRUE(gradient.defined());
  torch::manual_seed(7);
  const auto layers = summarize(model, x, trace);
  const at::Tensor drawn = torch::rand({4});
  torch::manual_seed(7);
  EXPECT_TRUE(torch::equal(drawn, torch::rand({4})));
  EXPECT_TRUE(torch::equal(mean, model[1]->buffers()[0]));
  EXPECT_TRUE(gradient.is_same(model[0]->parameters()[0].grad()));

  for (const graph::LayerUse& use : graph::layers_of(trace)) {
    for (const LayerSummary& layer : layers) {
      if (layer.name != use.name) continue;
      EXPECT_EQ(layer.activations, use.activations);
      EXPECT_EQ(layer.forward_ns, use.forward_ns);
      EXPECT_EQ(layer.backward_ns, use.backward_ns);
    }
  }
  std::int64_t activations = 0;
  for (const char* const name : {"0", "1", "3"}) {
    for (const LayerSummary& layer : layers) {
      if (layer.name == name) activations += layer.activations;
    }
  }
  EXPECT_GT(activations, 0);
  EXPECT_EQ(layers.front().activations, activations);
  EXPECT_EQ(layers.size(), 5U);
  EXPECT_EQ(layers[2].name, "1");
  EXPECT_EQ(layers[3].kind, "ReLU");
}

struct ScoresImpl : nn::Module {
  explicit ScoresImpl(const at::Tensor& of) : weight(register_parameter("weight", of)) {}
  at::Tensor forward(const at::Tensor& x) { return at::linear(x, weight); }
  at::Tensor weight;
};
TORCH_MODULE(Scores);

struct TiedImpl : nn::Module {
  TiedImpl() {
    register_module("words", words);
    register_module("scores", scores);
  }
  at::Tensor forward(const at::Tensor& x) { return scores->forward(words->forward(x)); }
  nn::Embedding words{10, 4};
  Scores scores{words->weight};
};
TORCH_MODULE(Tied);

TEST(Summary, counts_a_shared_parameter_once) {
  const auto layers = summary_of(Tied(), torch::randint(10, {3}));
  EXPECT_EQ(layers.at("").parameters, 40);
  EXPECT_EQ(layers.at("words").parameters, 40);
  EXPECT_EQ(layers.at("scores").parameters, 0);
  EXPECT_EQ(layers.at("").flops, 2 * 3 * 4 * 10);
}

TEST(Summary, of_a_forward_that_throws_leaves_no_watch_behind) {
  nn::Linear layer(4, 4);
  const train::Model broken(*layer, [](const at::Tensor& x) -> at::Tensor {
    (void)(x + x);
    throw std::runtime_error("no");
  });
  EXPECT_THROW((void)summarize(broken, torch::ones({2}), {}), std::runtime_error);
  (void)(torch::ones({2}) + 1);  // would be watched by what is gone
}

}  // namespace
}  // namespace neap
