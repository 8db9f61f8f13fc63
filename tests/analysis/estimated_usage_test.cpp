// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What the estimate says of whole models: what it counts exactly, how far its peaks are off, and
// that it says so where it does not know.
#include "analysis/convolution_scratch.h"

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

// Models with additions and functional operators between their modules, whose forward() is known.
struct Known {
  const char* name;
  std::function<train::Model()> make;
  std::function<at::Tensor()> input;
  Shape shape;
  double percent;  // how far off the peak is at most, either way; measured, and rounded up
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
       },  // time first
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
    if (std::string(known.name) == "LSTM") continue;  // oneDNN's workspace: estimate_test.cpp
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

// The whole third step: peak against what the allocator has seen, in percent.
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
    if (known.convolves && !kernels_known) continue;  // and the estimate says so
    for (const OptimizerKind kind : {OptimizerKind::Momentum, OptimizerKind::AdamW}) {
      const double error = peak_error(known, kind);
      EXPECT_LE(std::abs(error), known.percent)
          << known.name << (kind == OptimizerKind::AdamW ? ", AdamW" : ", momentum");
    }
  }
}

// A module without children, and without a rule.
struct ScaleImpl : nn::Module {
  ScaleImpl() { factor = register_parameter("factor", torch::ones({3})); }
  at::Tensor forward(const at::Tensor& x) { return x * factor; }
  at::Tensor factor;
};
TORCH_MODULE(Scale);

TEST(EstimatedUsage, layers_that_are_not_known_are_named) {
  nn::Sequential model(nn::Linear(5, 3), Scale(), nn::Linear(3, 2));
  const MemoryUsage usage = estimate_memory_usage(*model, {5}, 2);
  EXPECT_EQ(usage.unknown, std::vector<std::string>{"1 (Scale)"});
  EXPECT_EQ(usage.layers[1].parameters, 3 * 4) << "counted all the same";
  EXPECT_TRUE(usage.layers[1].output.empty());
  EXPECT_EQ(usage.layers[2].output, (Shape{2, 2})) << "the walk goes on";
  EXPECT_NE(usage.text().find("not known: activations of 1 (Scale)\n"), std::string::npos);
  EXPECT_EQ(estimate_memory_usage(*Scale(), {3}, 2).unknown, std::vector<std::string>{"(Scale)"});
}

TEST(EstimatedUsage, sizes_that_do_not_follow_are_assumed_and_said) {
  // A mean between them, or a reshape, that is no module.
  nn::Sequential model(nn::Conv2d(3, 8, 3), nn::Linear(8, 2), nn::Linear(4, 6));
  const MemoryUsage usage = estimate_memory_usage(*model, {3, 11, 11}, 2);
  EXPECT_EQ(usage.assumed,
            (std::vector<std::string>{
                "1: a mean over all places is assumed before it; got (2, 8, 9, 9), took (2, 8)",
                "2: 4 features are assumed to reach it; got (2, 2), took (2, 4)"}));
  EXPECT_NE(usage.text().find("assumed: 1: a mean"), std::string::npos);
  const auto assumed = [](nn::Sequential other, const Shape& shape) {
    return estimate_memory_usage(*other, shape, 2).assumed.at(0);
  };
  EXPECT_EQ(assumed(nn::Sequential(nn::Conv2d(3, 8, 3), nn::Conv2d(16, 8, 3)), {3, 11, 11}),
            "1: 16 channels are assumed to reach it; got (2, 8, 9, 9), took (2, 16, 9, 9)");
  EXPECT_EQ(assumed(nn::Sequential(nn::Conv2d(3, 8, 3), nn::LayerNorm(nn::LayerNormOptions({8}))),
                    {3, 11, 11}),
            "1: its places are assumed to be tokens; got (2, 8, 9, 9), took (2, 81, 8)");
  // A Linear behind planes flattens them: nothing to assume.
  EXPECT_TRUE(estimate_memory_usage(*nn::Sequential(nn::Conv2d(3, 8, 3), nn::Linear(8 * 81, 2)),
                                    {3, 11, 11}, 2)
                  .assumed.empty());
}

TEST(EstimatedUsage, prints_a_table_and_json) {
  nn::Sequential model(nn::Linear(256, 1024), nn::ReLU(), nn::Linear(1024, 10));
  const MemoryUsage usage = estimate_memory_usage(*model, {256}, 512, OptimizerKind::AdamW);
  const std::string text = usage.text();
  EXPECT_NE(text.find("layer  kind    output    parameters  buffers  gradients  optimizer  "
                      "activations  temporaries\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\nestimated            bytes\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\nactivations        2117632  2.0 MiB\n"), std::string::npos) << text;
  const auto json = nlohmann::json::parse(usage.to_json());
  EXPECT_EQ(json["measured"], false);
  EXPECT_EQ(json["batch_size"], 512);
  EXPECT_EQ(json["parameters_bytes"], usage.parameters);
  EXPECT_EQ(json["buffers_bytes"], 0);
  EXPECT_EQ(json["gradients_bytes"], usage.gradients);
  EXPECT_EQ(json["optimizer_states_bytes"], 2 * usage.gradients);
  EXPECT_EQ(json["activations_bytes"], usage.activations);
  EXPECT_EQ(json["temporaries_bytes"], usage.temporaries);
  EXPECT_EQ(json["peak_live_bytes"], usage.peak);
  ASSERT_EQ(json["layers"].size(), 3);
  EXPECT_EQ(json["layers"][0]["kind"], "Linear");
  EXPECT_EQ(json["layers"][0]["output_shape"], (Shape{512, 1024}));
  EXPECT_EQ(json["layers"][1]["activations_bytes"], 512 * 1024 * 4);
}

TEST(EstimatedUsage, refuses_sizes_below_one) {
  const auto message = [](const Shape& shape, std::int64_t batch) -> std::string {
    try {
      (void)estimate_memory_usage(*nn::Linear(2, 2), shape, batch);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  EXPECT_EQ(message({2}, 0), "estimate_memory_usage: a batch size of 0; expected 1 or more");
  EXPECT_EQ(message({2, -1}, 1),
            "estimate_memory_usage: an extent of -1 in the input's size; give the sizes of one "
            "item, without the batch");
}

TEST(EstimatedUsage, categories_refuse_an_optimizer_whose_state_is_not_known) {
  nn::Linear model(4, 4);
  optim::LBFGS optimizer(model->parameters());
  const auto closure = [&] {
    optimizer.zero_grad();
    at::Tensor loss = model->forward(torch::ones({2, 4})).square().mean();
    loss.backward();
    return loss;
  };
  const auto categories = analysis::categories_of(*model, optimizer);
  optimizer.step(closure);
  try {
    categories();
    ADD_FAILURE();
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(
        error.what(),
        "categories: the optimizer's state is of none of SGD, Adam, AdamW, RMSprop and "
        "Adagrad, so its bytes are not known; use one of these, or a callback of your own");
  }
}

}  // namespace
