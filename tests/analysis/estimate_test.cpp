// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// An estimate that takes the size of the input for the activations is useless. These tests prove
// that each rule gives what the allocator holds after a real forward, to the byte. So they fail
// when a new LibTorch keeps something else.
#include <neap/analysis.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <string>
#include <vector>

namespace {

using namespace neap;
namespace nn = torch::nn;
using Shape = std::vector<std::int64_t>;

std::int64_t requested() { return memory::usage().requested; }

// The bytes that remain when only the output is held and the input is not: what is kept for the
// backward, and the output.
std::int64_t held_after(const at::Tensor& x,
                        const std::function<at::Tensor(const at::Tensor&)>& forward) {
  const std::int64_t before = requested();
  const at::Tensor output = forward(x);
  return requested() - before;
}

at::Tensor input_of(const Shape& shape, std::int64_t batch) {
  Shape sizes{batch};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  return torch::randn(sizes);
}

void expect_exact(const char* name, nn::Sequential model, const Shape& shape,
                  std::int64_t batch = 4) {
  const MemoryUsage usage = estimate_memory_usage(*model, shape, batch);
  EXPECT_TRUE(usage.unknown.empty()) << name;
  EXPECT_TRUE(usage.assumed.empty()) << name << ": " << usage.assumed[0];
  const at::Tensor x = input_of(shape, batch);
  EXPECT_EQ(usage.activations,
            held_after(x, [&](const at::Tensor& in) { return model->forward(in); }))
      << name << '\n'
      << usage.text();
  const at::Tensor output = model->forward(x);
  EXPECT_EQ(Shape(usage.layers.back().output), output.sizes().vec()) << name;
}

// The layer comes after one that learns, so that there is a gradient, and before one that keeps its
// input, so that sharing shows.
void expect_exact_2d(const char* name, const nn::AnyModule& layer) {
  nn::Sequential model(nn::Conv2d(nn::Conv2dOptions(3, 8, 3).padding(1)));
  model->push_back(layer);
  model->push_back(nn::BatchNorm2d(8));
  expect_exact(name, model, {3, 12, 12});
}
void expect_exact_rows(const char* name, const nn::AnyModule& layer) {
  nn::Sequential model(nn::Linear(20, 40));
  model->push_back(layer);
  model->push_back(nn::Linear(40, 10));
  expect_exact(name, model, {20});
}

TEST(Estimate, knows_what_linear_keeps) {
  expect_exact("alone", nn::Sequential(nn::Linear(20, 40)), {20});
  expect_exact("two", nn::Sequential(nn::Linear(20, 40), nn::Linear(40, 7)), {20});
  expect_exact("tokens", nn::Sequential(nn::Linear(20, 40), nn::Linear(40, 7)), {5, 20});
  expect_exact("without bias",
               nn::Sequential(nn::Linear(nn::LinearOptions(20, 40).bias(false)),
                              nn::Linear(nn::LinearOptions(40, 7).bias(false))),
               {5, 20});
  nn::Linear frozen(40, 30);
  frozen->weight.set_requires_grad(false);
  expect_exact("a frozen weight", nn::Sequential(nn::Linear(20, 40), frozen, nn::Linear(30, 7)),
               {20});
  nn::Linear still(20, 40);
  for (at::Tensor& parameter : still->parameters()) parameter.set_requires_grad(false);
  expect_exact("nothing to learn before", nn::Sequential(still, nn::ReLU(), nn::Linear(40, 7)),
               {20});
}

TEST(Estimate, knows_what_convolutions_keep) {
  expect_exact(
      "1d",
      nn::Sequential(nn::Conv1d(3, 8, 3),
                     nn::Conv1d(nn::Conv1dOptions(8, 4, 5).stride(2).padding(1).dilation(2))),
      {3, 30});
  expect_exact(
      "2d",
      nn::Sequential(nn::Conv2d(3, 8, 3),
                     nn::Conv2d(nn::Conv2dOptions(8, 4, {3, 5}).stride({2, 1}).padding({0, 2}))),
      {3, 13, 12});
  expect_exact("same",
               nn::Sequential(nn::Conv2d(3, 8, 3),
                              nn::Conv2d(nn::Conv2dOptions(8, 4, 3).padding(torch::kSame))),
               {3, 13, 12});
  expect_exact("valid",
               nn::Sequential(nn::Conv2d(3, 8, 3),
                              nn::Conv2d(nn::Conv2dOptions(8, 4, 3).padding(torch::kValid))),
               {3, 13, 12});
  expect_exact("3d", nn::Sequential(nn::Conv3d(3, 8, 3), nn::Conv3d(8, 4, 2)), {3, 6, 7, 8});
  expect_exact("transposed",
               nn::Sequential(
                   nn::ConvTranspose2d(
                       nn::ConvTranspose2dOptions(3, 8, 3).stride(2).padding(1).output_padding(1)),
                   nn::ConvTranspose2d(8, 4, 2)),
               {3, 6, 7});
  expect_exact("transposed 1d and groups",
               nn::Sequential(nn::ConvTranspose1d(3, 8, 3),
                              nn::Conv1d(nn::Conv1dOptions(8, 16, 3).groups(4))),
               {3, 9});
}

TEST(Estimate, knows_what_norms_keep) {
  expect_exact_2d("batch norm", nn::AnyModule(nn::BatchNorm2d(8)));
  expect_exact_2d(
      "batch norm without statistics",
      nn::AnyModule(nn::BatchNorm2d(nn::BatchNorm2dOptions(8).track_running_stats(false))));
  nn::BatchNorm2d evaluating(8);
  evaluating->eval();
  expect_exact_2d("batch norm in evaluation", nn::AnyModule(evaluating));
  expect_exact_2d("instance norm", nn::AnyModule(nn::InstanceNorm2d(8)));
  expect_exact_2d("group norm", nn::AnyModule(nn::GroupNorm(4, 8)));
  expect_exact_2d("layer norm of planes",
                  nn::AnyModule(nn::LayerNorm(nn::LayerNormOptions({8, 12, 12}))));
  expect_exact_rows("batch norm of rows", nn::AnyModule(nn::BatchNorm1d(40)));
  expect_exact_rows("layer norm", nn::AnyModule(nn::LayerNorm(nn::LayerNormOptions({40}))));
  expect_exact("batch norm 3d", nn::Sequential(nn::Conv3d(3, 8, 3), nn::BatchNorm3d(8)),
               {3, 6, 7, 8});
}

TEST(Estimate, knows_what_activations_keep_and_share) {
  expect_exact_rows("relu", nn::AnyModule(nn::ReLU()));
  expect_exact_rows("relu in place", nn::AnyModule(nn::ReLU(/*inplace=*/true)));
  expect_exact_rows("tanh", nn::AnyModule(nn::Tanh()));
  expect_exact_rows("sigmoid", nn::AnyModule(nn::Sigmoid()));
  expect_exact_rows("softmax", nn::AnyModule(nn::Softmax(1)));
  expect_exact_rows("log softmax", nn::AnyModule(nn::LogSoftmax(1)));
  expect_exact_rows("gelu", nn::AnyModule(nn::GELU()));
  expect_exact_rows("silu", nn::AnyModule(nn::SiLU()));
  expect_exact_rows("mish", nn::AnyModule(nn::Mish()));
  expect_exact_rows("softplus", nn::AnyModule(nn::Softplus()));
  expect_exact_rows("leaky relu", nn::AnyModule(nn::LeakyReLU()));
  expect_exact_rows("leaky relu in place",
                    nn::AnyModule(nn::LeakyReLU(nn::LeakyReLUOptions().inplace(true))));
  expect_exact_rows("elu", nn::AnyModule(nn::ELU()));
  expect_exact_rows("relu6", nn::AnyModule(nn::ReLU6()));
  expect_exact_rows("hardtanh", nn::AnyModule(nn::Hardtanh()));
  expect_exact_rows("identity", nn::AnyModule(nn::Identity()));
  // What relu keeps is its result, and the layer after it keeps the same storage.
  const MemoryUsage usage = estimate_memory_usage(
      *nn::Sequential(nn::Linear(20, 40), nn::ReLU(), nn::Linear(40, 10)), {20}, 4);
  EXPECT_EQ(usage.layers[1].activations, 4 * 40 * 4);
  EXPECT_EQ(usage.layers[2].activations, 4 * 10 * 4) << "the output, for the loss";
}

TEST(Estimate, knows_what_dropout_keeps) {
  expect_exact_rows("dropout", nn::AnyModule(nn::Dropout(0.3)));
  expect_exact_rows("dropout in place",
                    nn::AnyModule(nn::Dropout(nn::DropoutOptions(0.3).inplace(true))));
  expect_exact_rows("dropout of nothing", nn::AnyModule(nn::Dropout(0.0)));
  expect_exact_rows("dropout of all", nn::AnyModule(nn::Dropout(1.0)));
  expect_exact_2d("dropout of planes", nn::AnyModule(nn::Dropout2d(0.3)));
  nn::Dropout evaluating(0.3);
  evaluating->eval();
  expect_exact_rows("dropout in evaluation", nn::AnyModule(evaluating));
}

TEST(Estimate, knows_what_pooling_keeps) {
  const auto expect_pool = [](const char* name, const nn::AnyModule& pool) {
    nn::Sequential model(nn::Conv2d(nn::Conv2dOptions(3, 8, 3).padding(1)));
    model->push_back(pool);
    model->push_back(nn::Flatten());
    expect_exact(name, model, {3, 13, 12});
  };
  expect_pool("max", nn::AnyModule(nn::MaxPool2d(2)));
  expect_pool(
      "max, ceil",
      nn::AnyModule(nn::MaxPool2d(nn::MaxPool2dOptions(3).stride(2).padding(1).ceil_mode(true))));
  expect_pool(
      "max, the last window in the padding",
      nn::AnyModule(nn::MaxPool2d(nn::MaxPool2dOptions(2).stride(4).padding(1).ceil_mode(true))));
  expect_pool("average", nn::AnyModule(nn::AvgPool2d(2)));
  expect_pool(
      "average, ceil",
      nn::AnyModule(nn::AvgPool2d(nn::AvgPool2dOptions(3).stride(2).padding(1).ceil_mode(true))));
  expect_pool("adaptive",
              nn::AnyModule(nn::AdaptiveAvgPool2d(nn::AdaptiveAvgPool2dOptions({5, 4}))));
  expect_pool(
      "adaptive, one extent",
      nn::AnyModule(nn::AdaptiveAvgPool2d(nn::AdaptiveAvgPool2dOptions({std::nullopt, 4}))));
  expect_pool("adaptive to one",
              nn::AnyModule(nn::AdaptiveAvgPool2d(nn::AdaptiveAvgPool2dOptions({1, 1}))));
  expect_exact("1d",
               nn::Sequential(nn::Conv1d(3, 8, 3), nn::MaxPool1d(2), nn::AvgPool1d(2),
                              nn::AdaptiveAvgPool1d(3)),
               {3, 30});
  expect_exact("3d",
               nn::Sequential(nn::Conv3d(3, 8, 3), nn::MaxPool3d(2), nn::AvgPool3d(2),
                              nn::AdaptiveAvgPool3d(1)),
               {3, 12, 13, 14});
}

TEST(Estimate, knows_what_embeddings_keep) {
  const nn::Embedding embedding(10, 24);
  nn::Sequential model(embedding, nn::Linear(24, 7));
  const MemoryUsage usage = estimate_memory_usage(*model, {6}, 4);
  EXPECT_EQ(usage.input, 4 * 6 * 8) << "int64";
  const at::Tensor tokens = torch::randint(10, {4, 6});
  EXPECT_EQ(usage.activations,
            held_after(tokens, [&](const at::Tensor& in) { return model->forward(in); }));
}

// nn::MultiheadAttention takes time first, (T, B, D). Sizes are given batch first all the same.
TEST(Estimate, knows_what_attention_keeps) {
  for (const double dropout : {0.0, 0.2}) {
    for (const bool training : {true, false}) {
      nn::MultiheadAttention attention(nn::MultiheadAttentionOptions(24, 4).dropout(dropout));
      attention->train(training);
      const at::Tensor x = torch::randn({5, 3, 24});
      const std::int64_t held = held_after(
          x, [&](const at::Tensor& in) { return std::get<0>(attention->forward(in, in, in)); });
      EXPECT_EQ(estimate_memory_usage(*attention, {5, 24}, 3).activations, held)
          << dropout << ' ' << training;
    }
  }
}

TEST(Estimate, knows_what_recurrent_networks_keep) {
  for (const bool batch_first : {true, false}) {
    for (const bool bidirectional : {true, false}) {
      for (const double dropout : {0.0, 0.3}) {
        SCOPED_TRACE(testing::Message() << batch_first << bidirectional << dropout);
        const Shape sizes = batch_first ? Shape{3, 7, 24} : Shape{7, 3, 24};
        nn::GRU gru(nn::GRUOptions(24, 16)
                        .num_layers(2)
                        .bidirectional(bidirectional)
                        .batch_first(batch_first)
                        .dropout(dropout));
        const auto held = held_after(torch::randn(sizes), [&](const at::Tensor& in) {
          return std::get<0>(gru->forward(in));
        });
        EXPECT_EQ(estimate_memory_usage(*gru, {7, 24}, 3).activations, held);
        // oneDNN pads its workspace by rules of its own.
        const Shape large = batch_first ? Shape{8, 32, 128} : Shape{32, 8, 128};
        nn::LSTM lstm(nn::LSTMOptions(128, 64)
                          .num_layers(2)
                          .bidirectional(bidirectional)
                          .batch_first(batch_first)
                          .dropout(dropout));
        const auto taken = held_after(torch::randn(large), [&](const at::Tensor& in) {
          return std::get<0>(lstm->forward(in));
        });
        const auto estimated = estimate_memory_usage(*lstm, {32, 128}, 8).activations;
        EXPECT_NEAR(static_cast<double>(estimated) / static_cast<double>(taken), 1.0, 0.1);
      }
    }
  }
}

}  // namespace
