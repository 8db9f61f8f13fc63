// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The estimate for whole models, compared with the allocator. Parameters, gradients, optimizer
// states and activations are exact. The peak may be off by the percentage that each model names.
#include "analysis/convolution_scratch.h"

#include <neap/analysis.h>
#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
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

// The states of each optimizer count too.
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

// Models whose forward() the estimate knows. They have additions and functional operators between
// their modules.
struct Known {
  const char* name;
  std::function<train::Model()> make;
  std::function<at::Tensor()> input;
  Shape shape;
  double percent;  // the largest error of the peak, either way; measured, and rounded up
  bool convolves = false;
};

train::Model encoder(torch::nn::TransformerEncoderLayer layer) {
  return {*layer, [layer](const at::Tensor& x) mutable { return layer->forward(x); }};
}

const std::vector<Known>& known_models() {
  static const std::vector<Known> models{
      {"Sequential of Linear and ReLU",
       [] {
         nn::Sequential model;
         for (int i = 0; i < 8; ++i) {
           model->push_back(nn::Linear(128, 128));
           model->push_back(nn::ReLU());
         }
         model->push_back(nn::Linear(128, 10));
         return train::Model(model);
       },
       [] {
         return torch::randn({2048, 128});
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
         return train::Model(model);
       },
       [] {
         return torch::randn({16, 3, 24, 24});
       },
       {3, 24, 24},
       3,
       true},
      {"MLP",
       [] {
         return train::Model(neap::nn::MLP(neap::nn::MLPOptions{
             .in = 128, .width = 128, .out = 10, .layers = 8, .activate_last = false}));
       },
       [] {
         return torch::randn({2048, 128});
       },
       {128},
       3},
      {"ResNet",
       [] {
         return train::Model(neap::nn::ResNet(
             neap::nn::ResNetOptions{.channels = 16, .blocks = 6, .downsample_after = {2}}));
       },
       [] {
         return torch::randn({16, 3, 16, 16});
       },
       {3, 16, 16},
       3,
       true},
      {"ImageNetResNet",
       [] {
         return train::Model(
             neap::nn::ImageNetResNet(neap::nn::ImageNetResNetOptions{.depth = 18, .classes = 10}));
       },
       [] {
         return torch::randn({8, 3, 64, 64});
       },
       {3, 64, 64},
       3,
       true},
      {"GPT",
       [] {
         return train::Model(
             neap::nn::GPT(neap::nn::GPTOptions{.context = 64, .width = 64, .layers = 4}));
       },
       [] {
         return torch::randint(256, {8, 64});
       },
       {64},
       3},
      {"PatchTransformer",
       [] { return train::Model(neap::nn::PatchTransformer(neap::nn::PatchTransformerOptions{})); },
       [] {
         return torch::randn({16, 1, 28, 28});
       },
       {1, 28, 28},
       3,
       true},
      {"UNet",
       [] {
         return train::Model(neap::nn::UNet(neap::nn::UNetOptions{.widths = {8, 16, 32}}));
       },
       [] {
         return torch::randn({4, 3, 96, 96});
       },
       {3, 96, 96},
       3,
       true},
      {"TransformerEncoderLayer",
       [] {
         return encoder(torch::nn::TransformerEncoderLayer(
             torch::nn::TransformerEncoderLayerOptions(64, 4).dim_feedforward(128)));
       },
       [] {
         return torch::randn({32, 64, 64});
       },  // the time is the first dimension
       {32, 64},
       3},
      {"LSTM",
       [] {
         nn::LSTM model(nn::LSTMOptions(64, 64).batch_first(true));
         return train::Model(*model, [model](const at::Tensor& x) mutable {
           return std::get<0>(model->forward(x));
         });
       },
       [] {
         return torch::randn({64, 32, 64});
       },
       {32, 64},
       8},
  };
  return models;
}

std::int64_t batch_of(const Known& model, const at::Tensor& x) {
  return x.size(std::string(model.name) == "TransformerEncoderLayer" ? 1 : 0);
}

TEST(EstimatedUsage, activations_are_what_the_allocator_holds_after_a_forward) {
  for (const Known& known : known_models()) {
    // The estimate of oneDNN's workspace is not exact. estimate_test.cpp tests how close it is.
    if (std::string(known.name) == "LSTM") continue;
    for (const bool training : {true, false}) {
      const train::Model model = known.make();
      model.module().train(training);
      const at::Tensor x = known.input();
      const MemoryUsage usage =
          estimate_memory_usage(model.module(), known.shape, batch_of(known, x));
      const std::int64_t before = memory::usage().requested;
      const at::Tensor output = model.forward(x);
      EXPECT_EQ(usage.activations, memory::usage().requested - before)
          << known.name << ", training " << training << '\n'
          << usage.text();
      EXPECT_TRUE(usage.unknown.empty()) << known.name;
    }
  }
}

// The error of the estimated peak, in percent of the allocator's peak in the third step.
double peak_error(const Known& known, OptimizerKind kind) {
  memory::trim();
  const std::int64_t before = memory::usage().live;
  torch::manual_seed(1);
  const train::Model model = known.make();
  const at::Tensor x = known.input();
  const MemoryUsage usage =
      estimate_memory_usage(model.module(), known.shape, batch_of(known, x), kind);
  const auto optimizer = optimizer_of(kind, model.module().parameters());
  const bool classes_last = model.forward(x).dim() != 4;
  std::int64_t peak = 0;
  for (int step = 0; step < 3; ++step) {
    optimizer->zero_grad();
    MemoryTracker tracker;
    {
      const auto phase = tracker.track_memory("step");
      at::Tensor scores = model.forward(x);
      if (classes_last) scores = scores.flatten(0, -2);
      at::Tensor sizes = scores.detach().select(1, 0);
      const at::Tensor targets = torch::zeros(sizes.sizes(), torch::kLong);
      at::Tensor loss = torch::cross_entropy_loss(std::exchange(scores, {}), targets);
      sizes.reset();
      loss.backward();
      optimizer->step();
    }
    peak = tracker.records()[0].peak_live - before;
  }
  return 100 * (static_cast<double>(usage.peak) / static_cast<double>(peak) - 1);
}

TEST(EstimatedUsage, peaks_are_off_by_no_more_than_what_is_said) {
  const bool kernels_known = analysis::kernels_at_hand().channel_block != 0;
  for (const Known& known : known_models()) {
    // The estimate says itself that it does not know the scratch memory of these kernels.
    if (known.convolves && !kernels_known) continue;
    for (const OptimizerKind kind : {OptimizerKind::Momentum, OptimizerKind::AdamW}) {
      const double error = peak_error(known, kind);
      EXPECT_LE(std::abs(error), known.percent)
          << known.name << (kind == OptimizerKind::AdamW ? ", AdamW" : ", momentum");
    }
  }
}

}  // namespace
