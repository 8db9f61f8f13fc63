// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What the estimate says of whole models: what it counts exactly, how far its peaks are off, and that it says so where it does not
// know.
#include <neap/analysis.h>
#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/torch.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace neap;
using analysis::OptimizerKind;
namespace nn = torch::nn;
namespace optim = torch::optim;
using Shape = std::vector<std::int64_t>;

std::unique_ptr<optim::Optimizer> optimizer_of(OptimizerKind kind,
                                               const std::vector<at::Tensor>& parameters) {
  switch (kind) {
    case OptimizerKind::SGD:
      return std::make_unique<optim::SGD>(parameters, optim::SGDOptions(0.01));
    case OptimizerKind::Momentum:
      return std::make_unique<optim::SGD>(parameters, optim::SGDOptions(0.01).momentum(0.9));
    case OptimizerKind::Adam:
    case OptimizerKind::AdamAMSGrad:
      return std::make_unique<optim::Adam>(
          parameters, optim::AdamOptions(1e-3).amsgrad(kind == OptimizerKind::AdamAMSGrad));
    case OptimizerKind::AdamW:
    case OptimizerKind::AdamWAMSGrad:
      return std::make_unique<optim::AdamW>(
          parameters, optim::AdamWOptions(1e-3).amsgrad(kind == OptimizerKind::AdamWAMSGrad));
  }
  return nullptr;
}

constexpr OptimizerKind kKinds[] = {OptimizerKind::SGD,   OptimizerKind::Momentum,
                                    OptimizerKind::Adam,  OptimizerKind::AdamAMSGrad,
                                    OptimizerKind::AdamW, OptimizerKind::AdamWAMSGrad};

// The short version knew no optimizer.
TEST(EstimatedUsage,
     parameters_buffers_gradients_and_optimizer_states_are_what_the_allocator_holds) {
  for (const OptimizerKind kind : kKinds) {
    SCOPED_TRACE(static_cast<int>(kind));
    const auto requested = [] { return memory::usage().requested; };
    const std::int64_t empty = requested();
    neap::nn::ResNet model(neap::nn::ResNetOptions{.channels = 8, .blocks = 2});
    const std::int64_t made = requested();
    const MemoryUsage usage = estimate_memory_usage(*model, {3, 16, 16}, 4, kind);
    EXPECT_EQ(usage.parameters + usage.buffers, made - empty);
    EXPECT_EQ(usage.buffers, 5 * (2 * 8 * 4 + 8)) << "two averages and a counter a norm";
    const auto optimizer = optimizer_of(kind, model->parameters());
    const at::Tensor x = torch::randn({4, 3, 16, 16});
    EXPECT_EQ(usage.input, static_cast<std::int64_t>(x.nbytes()));
    model->forward(x).sum().backward();
    const std::int64_t learned = requested();
    EXPECT_EQ(usage.gradients, learned - made - usage.input);
    optimizer->step();
    EXPECT_EQ(usage.optimizer_states, requested() - learned);
    const auto categories = analysis::categories_of(*model, *optimizer)();
    EXPECT_EQ(categories, (MemoryTracker::Categories{{"parameters", usage.parameters},
                                                     {"gradients", usage.gradients},
                                                     {"optimizer states", usage.optimizer_states},
                                                     {"buffers", usage.buffers}}));
  }
}

TEST(EstimatedUsage, sums_are_those_of_the_layers) {
  nn::Sequential model(nn::Conv2d(3, 8, 3), nn::BatchNorm2d(8), nn::ReLU(), nn::Flatten(),
                       nn::Linear(8 * 14 * 14, 10));
  const MemoryUsage usage = estimate_memory_usage(*model, {3, 16, 16}, 4, OptimizerKind::Adam);
  EXPECT_FALSE(usage.measured);
  EXPECT_EQ(usage.batch_size, 4);
  ASSERT_EQ(usage.layers.size(), 5);
  const auto sum = [&](std::int64_t analysis::LayerUsage::*figure) {
    std::int64_t all = 0;
    for (const auto& layer : usage.layers) all += layer.*figure;
    return all;
  };
  EXPECT_EQ(sum(&analysis::LayerUsage::parameters), usage.parameters);
  EXPECT_EQ(sum(&analysis::LayerUsage::buffers), usage.buffers);
  EXPECT_EQ(sum(&analysis::LayerUsage::gradients), usage.gradients);
  EXPECT_EQ(sum(&analysis::LayerUsage::optimizer_states), usage.optimizer_states);
  EXPECT_EQ(sum(&analysis::LayerUsage::activations), usage.activations);
  EXPECT_EQ(usage.layers[0].name, "0");
  EXPECT_EQ(usage.layers[0].kind, "Conv2d");
  EXPECT_EQ(usage.layers[0].output, (Shape{4, 8, 14, 14}));
  EXPECT_EQ(usage.layers[4].output, (Shape{4, 10}));
  // The short version: the input, and nothing else.
  EXPECT_EQ(usage.input, 4 * 3 * 16 * 16 * 4);
  EXPECT_EQ(usage.activations, 4 * 4 * (2 * 8 * 14 * 14 + 10) + 2 * 8 * 4);
}

// One weight under two names, as language models tie what goes in and what comes out.
struct TiedImpl : nn::Module {
  TiedImpl() { again = register_parameter("again", register_module("first", first)->weight); }
  nn::Linear first{20, 20};
  at::Tensor again;
};
TORCH_MODULE(Tied);

TEST(EstimatedUsage, a_shared_weight_counts_once_and_a_frozen_one_has_no_gradient) {
  const Tied model;
  MemoryUsage usage = estimate_memory_usage(*model, {20}, 2, OptimizerKind::Adam);
  EXPECT_EQ(usage.parameters, (20 * 20 + 20) * 4);
  EXPECT_EQ(usage.optimizer_states, 2 * usage.parameters);
  model->again.set_requires_grad(false);
  usage = estimate_memory_usage(*model, {20}, 2, OptimizerKind::Adam);
  EXPECT_EQ(usage.parameters, (20 * 20 + 20) * 4);
  EXPECT_EQ(usage.gradients, 20 * 4);
  EXPECT_EQ(usage.optimizer_states, 2 * 20 * 4);
}

// The whole third step: peak against what the allocator has seen, in percent.
double peak_error(const std::function<std::pair<train::Model, at::Tensor>()>& make,
                  const Shape& shape, OptimizerKind kind, MemoryUsage* usage) {
  memory::trim();
  const std::int64_t before = memory::usage().live;
  torch::manual_seed(1);
  const auto [model, x] = make();
  *usage = estimate_memory_usage(model.module(), shape, x.size(0), kind);
  const auto optimizer = optimizer_of(kind, model.module().parameters());
  std::int64_t peak = 0;
  for (int step = 0; step < 3; ++step) {
    optimizer->zero_grad();
    MemoryTracker tracker;
    {
      const auto phase = tracker.track_memory("step");
      model.forward(x).square().mean().backward();
      optimizer->step();
    }
    peak = tracker.records()[0].peak_live - before;
  }
  return 100 * (static_cast<double>(usage->peak) / static_cast<double>(peak) - 1);
}

struct Estimated {
  const char* name;
  std::function<std::pair<train::Model, at::Tensor>()> make;
  Shape shape;
  double percent;  // how far off at most, either way
};

TEST(EstimatedUsage, peaks_are_off_by_no_more_than_what_is_said) {
  const std::vector<Estimated> models{
      {"Sequential of Linear and ReLU",
       [] {
         nn::Sequential model;
         for (int i = 0; i < 8; ++i) {
           model->push_back(nn::Linear(128, 128));
           model->push_back(nn::ReLU());
         }
         return std::pair(train::Model(model), torch::randn({256, 128}));
       },
       {128},
       3},
      {"Sequential of convolutions and norms",
       [] {
         nn::Sequential model;
         for (const int in : {3, 16, 16}) {
           model->push_back(nn::Conv2d(nn::Conv2dOptions(in, 16, 3).padding(1)));
           model->push_back(nn::BatchNorm2d(16));
           model->push_back(nn::ReLU());
         }
         model->push_back(nn::AdaptiveAvgPool2d(1));
         model->push_back(nn::Flatten());
         model->push_back(nn::Linear(16, 10));
         return std::pair(train::Model(model), torch::randn({16, 3, 24, 24}));
       },
       {3, 24, 24},
       3},
      {"LSTM",
       [] {
         nn::LSTM model(nn::LSTMOptions(64, 64).batch_first(true));
         return std::pair(train::Model(*model,
                                       [model](const at::Tensor& x) mutable {
                                         return std::get<0>(model->forward(x));
                                       }),
                          torch::randn({16, 32, 64}));
       },
       {32, 64},
       10},
      {"MLP",
       [] {
         return std::pair(train::Model(neap::nn::MLP(neap::nn::MLPOptions{
                              .in = 128, .width = 128, .out = 128, .layers = 8})),
                          torch::randn({256, 128}));
       },
       {128},
       100},
      {"ResNet",
       [] {
         return std::pair(
             train::Model(neap::nn::ResNet(neap::nn::ResNetOptions{.channels = 16, .blocks = 6})),
             torch::randn({16, 3, 16, 16}));
       },
       {3, 16, 16},
       100},
      {"GPT",
       [] {
         return std::pair(train::Model(neap::nn::GPT(
                              neap::nn::GPTOptions{.context = 64, .width = 64, .layers = 4})),
                          torch::randint(256, {8, 64}));
       },
       {64},
       100},
      {"PatchTransformer",
       [] {
         return std::pair(
             train::Model(neap::nn::PatchTransformer(neap::nn::PatchTransformerOptions{})),
             torch::randn({16, 1, 28, 28}));
       },
       {1, 28, 28},
       100},
      {"UNet",
       [] {
         return std::pair(
             train::Model(neap::nn::UNet(neap::nn::UNetOptions{.widths = {8, 16, 32}})),
             torch::randn({4, 3, 32, 32}));
       },
       {3, 32, 32},
       100},
  };
  for (const Estimated& model : models) {
    for (const OptimizerKind kind : {OptimizerKind::Momentum, OptimizerKind::AdamW}) {
      MemoryUsage usage;
      const double error = peak_error(model.make, model.shape, kind, &usage);
      std::printf("%-40s %d %+.1f %%\n", model.name, static_cast<int>(kind), error);
      EXPECT_LE(std::abs(error), model.percent)
          << model.name << ", " << static_cast<int>(kind) << ": " << error;
      RecordProperty(model.name, std::to_string(error));
    }
  }
}

}  // namespace
