// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analyze_memory_usage(): what a trace says that a step holds is what the allocator counts.
#include "memory/allocator.h"
#include "support/bytes.h"
#include "support/message_of.h"

#include <neap/analysis.h>
#include <neap/models.h>
#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

namespace neap {
namespace {

using Sizes = std::vector<std::int64_t>;

struct Subject {
  std::string name;
  std::function<train::Model()> make;
  Sizes input;
  std::int64_t batch;
  analysis::BatchMaker maker = analysis::random_batch;
};

train::MicroBatch words(at::IntArrayRef sizes) {
  return {torch::randint(64, sizes), torch::zeros({sizes[0]})};
}

std::vector<Subject> subjects() {
  return {
      {"mlp",
       [] { return nn::MLP(nn::MLPOptions{.in = 64, .width = 128, .out = 10, .layers = 6}); },
       {64},
       32},
      {"resnet",
       [] { return nn::ResNet(nn::ResNetOptions{.channels = 16, .blocks = 4}); },
       {3, 16, 16},
       4},
      {"unet",
       [] {
         return nn::UNet(nn::UNetOptions{.widths = {8, 16, 32}});
       },
       {3, 32, 32},
       2},
      {"gpt",
       [] {
         return nn::GPT(
             nn::GPTOptions{.vocabulary = 64, .context = 32, .width = 32, .heads = 4, .layers = 3});
       },
       {32},
       4,
       words},
      {"patches",
       [] { return nn::PatchTransformer(nn::PatchTransformerOptions{.width = 32, .layers = 2}); },
       {1, 28, 28},
       4},
      {"segmented",
       [] {
         return SegmentedNetwork(64, std::vector<std::int64_t>{64, 48, 32, 10});
       },
       {64},
       32},
      {"sequential",
       [] {
         return torch::nn::Sequential(torch::nn::Conv2d(3, 8, 3), torch::nn::ReLU(),
                                      torch::nn::MaxPool2d(2), torch::nn::Flatten(),
                                      torch::nn::Linear(8 * 7 * 7, 10));
       },
       {3, 16, 16},
       8},
      {"wide",
       [] { return torch::nn::Sequential(torch::nn::Linear(512, 512), torch::nn::Tanh()); },
       {512},
       16},
  };
}

using Optimizers = analysis::OptimizerMaker;
const std::vector<std::pair<std::string, Optimizers>>& optimizers() {
  static const std::vector<std::pair<std::string, Optimizers>> all = {
      {"sgd",
       [](const torch::nn::Module& model) {
         return std::make_shared<torch::optim::SGD>(model.parameters(),
                                                    torch::optim::SGDOptions(0.01));
       }},
      {"momentum", analysis::sgd},
      {"adam",
       [](const torch::nn::Module& model) {
         return std::make_shared<torch::optim::Adam>(model.parameters(),
                                                     torch::optim::AdamOptions(1e-3));
       }},
      {"adamw",
       [](const torch::nn::Module& model) {
         return std::make_shared<torch::optim::AdamW>(model.parameters(),
                                                      torch::optim::AdamWOptions(1e-3));
       }},
  };
  return all;
}

TEST(MeasuredUsage, has_the_allocators_peak_for_eight_models_within_3_percent) {
  for (const Subject& subject : subjects()) {
    SCOPED_TRACE(subject.name);
    torch::manual_seed(1);
    const train::Model model = subject.make();
    const MemoryUsage usage =
        analyze_memory_usage(model, subject.input, subject.batch, {.batch = subject.maker});
    const double off = 100.0 * static_cast<double>(usage.peak - usage.allocator_peak) /
                       static_cast<double>(usage.allocator_peak);
    std::cout << "  " << subject.name << ": peak " << usage.peak << ", by the allocator "
              << usage.allocator_peak << ", " << off << " %\n";
    EXPECT_LE(std::abs(off), 3);
    EXPECT_GT(usage.activations, 0);
    std::int64_t activations = 0, parameters = 0, gradients = 0, states = 0;
    for (const analysis::LayerUsage& layer : usage.layers) {
      activations += layer.activations;
      parameters += layer.parameters;
      gradients += layer.gradients;
      states += layer.optimizer_states;
    }
    EXPECT_EQ(activations, usage.activations) << "each storage belongs to one layer";
    EXPECT_EQ(parameters, usage.parameters);
    EXPECT_EQ(gradients, usage.gradients);
    EXPECT_EQ(states, usage.optimizer_states);
  }
}

TEST(MeasuredUsage, counts_what_each_optimizer_keeps) {
  torch::manual_seed(1);
  nn::MLP model(nn::MLPOptions{.in = 64, .width = 64, .out = 64, .layers = 4});
  std::vector<std::int64_t> states;
  for (const auto& [name, maker] : optimizers()) {
    const MemoryUsage usage = analyze_memory_usage(model, {64}, 32, {.optimizer = maker});
    EXPECT_EQ(usage.gradients, usage.parameters) << name;
    states.push_back(usage.optimizer_states / usage.parameters);
    EXPECT_EQ(usage.optimizer_states % usage.parameters, 0) << name;
    for (const auto& layer : usage.layers) {
      EXPECT_EQ(layer.optimizer_states, states.back() * layer.parameters) << name << layer.name;
    }
  }
  EXPECT_EQ(states, (std::vector<std::int64_t>{0, 1, 2, 2}));
}

TEST(MeasuredUsage, counts_a_weight_that_two_layers_share_once) {
  torch::nn::Linear first(64, 64), second(64, 64);
  second->weight.set_data(first->weight.detach());
  torch::nn::Sequential model(first, torch::nn::Tanh(), second);
  EXPECT_EQ(analyze_memory_usage(model, {64}, 32).parameters,
            memory::footprint(64 * 64 * 4) + 2 * memory::footprint(64 * 4));
}

// The input does not count as an activation.
TEST(MeasuredUsage, counts_what_the_forward_keeps_and_not_its_input) {
  torch::manual_seed(1);
  torch::nn::Sequential model(torch::nn::Linear(64, 64), torch::nn::Tanh(),
                              torch::nn::Linear(64, 64), torch::nn::Tanh());
  const std::int64_t tensor = memory::footprint(256 * 64 * 4);
  const MemoryUsage usage = analyze_memory_usage(model, {64}, 256);
  EXPECT_EQ(usage.input, tensor);
  // Kept are two results of tanh, of which the loss squares the second; the loss's result, a
  // scalar; and the gradient that the backward starts from.
  const std::int64_t scalar = memory::footprint(4);
  EXPECT_EQ(usage.activations, 2 * tensor + 2 * scalar);
  const std::int64_t wider = analyze_memory_usage(model, {64}, 512).activations;
  EXPECT_EQ(wider, 2 * memory::footprint(512 * 64 * 4) + 2 * scalar);
}

// This model's backward peaks in one product, when nothing else is alive but what the forward
// keeps.
TEST(MeasuredUsage, counts_as_temporaries_what_the_backward_holds_besides_at_its_peak) {
  torch::manual_seed(1);
  torch::nn::Sequential model(torch::nn::Linear(torch::nn::LinearOptions(64, 64).bias(false)),
                              torch::nn::Functional([](const at::Tensor& x) { return x.exp(); }));
  const std::int64_t tensor = memory::footprint(4096 * 64 * 4), scalar = memory::footprint(4);
  const MemoryUsage usage = analyze_memory_usage(
      model, {64}, 4096,
      {.loss = [](const at::Tensor& y, const at::Tensor& /*target*/) { return y.sum(); }});
  EXPECT_EQ(usage.activations, tensor + 2 * scalar)
      << "the result of exp; the loss, and its gradient";
  EXPECT_EQ(usage.temporaries, tensor) << "the gradient of the result of exp";
  std::int64_t most = 0;
  for (const analysis::LayerUsage& layer : usage.layers) most = std::max(most, layer.temporaries);
  EXPECT_EQ(most, tensor);
}

TEST(MeasuredUsage, leaves_the_model_and_the_generator_as_they_were) {
  torch::manual_seed(1);
  nn::ResNet model(nn::ResNetOptions{.channels = 8, .blocks = 2});
  const auto bytes = [&] {
    std::vector<at::Tensor> all = model->parameters();
    for (const at::Tensor& buffer : model->buffers()) all.push_back(buffer);
    return test::bytes_of(all);
  };
  const test::ByteLists before = bytes();
  torch::manual_seed(9);
  const at::Tensor drawn = torch::rand({4});
  torch::manual_seed(9);
  (void)analyze_memory_usage(model, {3, 16, 16}, 2);
  EXPECT_TRUE(torch::equal(torch::rand({4}), drawn));
  EXPECT_EQ(test::first_difference(before, bytes()), std::nullopt);
  for (const at::Tensor& parameter : model->parameters()) EXPECT_FALSE(parameter.grad().defined());
}

TEST(MeasuredUsage, prints_a_table_and_json) {
  nn::MLP model(nn::MLPOptions{.in = 64, .width = 64, .out = 64, .layers = 2});
  const MemoryUsage usage = analyze_memory_usage(model, {64}, 8);
  const std::string text = usage.text(), json = usage.to_json();
  for (const char* const part :
       {"measured", "activations", "temporaries", "allocator_peak", "Linear"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_NE(json.find(part), std::string::npos) << json;
  }
}

// The two results once were of different optimizers, SGD with and without momentum, and neither
// said so.
TEST(MeasuredUsage, is_of_the_same_optimizer_as_the_estimate_and_both_say_which) {
  nn::MLP model(nn::MLPOptions{.in = 64, .width = 64, .out = 64, .layers = 2});
  const MemoryUsage measured = analyze_memory_usage(model, {64}, 8);
  const MemoryUsage estimated = estimate_memory_usage(model, {64}, 8);
  EXPECT_GT(measured.optimizer_states, 0);
  EXPECT_EQ(estimated.optimizer_states, estimated.parameters);
  for (const MemoryUsage& usage : {measured, estimated}) {
    EXPECT_EQ(usage.optimizer, "SGD with momentum");
    EXPECT_NE(usage.text().find("\noptimizer: SGD with momentum\n"), std::string::npos);
    EXPECT_NE(usage.to_json().find("\"optimizer\": \"SGD with momentum\""), std::string::npos);
  }
  const auto name_of = [&](const analysis::OptimizerMaker& optimizer) {
    return analyze_memory_usage(model, {64}, 8, {.optimizer = optimizer}).optimizer;
  };
  EXPECT_EQ(name_of([](const torch::nn::Module& one) {
              return std::make_shared<torch::optim::SGD>(one.parameters(), 0.1);
            }),
            "SGD");
  EXPECT_EQ(name_of([](const torch::nn::Module& one) {
              return std::make_shared<torch::optim::AdamW>(
                  one.parameters(), torch::optim::AdamWOptions().amsgrad(true));
            }),
            "AdamW with AMSGrad");
  EXPECT_EQ(name_of([](const torch::nn::Module& one) {
              return std::make_shared<torch::optim::RMSprop>(one.parameters());
            }),
            "RMSprop");
  EXPECT_EQ(estimate_memory_usage(model, {64}, 8, analysis::OptimizerKind::Adam).optimizer, "Adam");
}

// A trace has no sizes, so a column of outputs would be empty in each row.
TEST(MeasuredUsage, has_no_column_of_outputs_and_the_estimate_has_it_filled) {
  nn::MLP model(nn::MLPOptions{.in = 64, .width = 64, .out = 64, .layers = 2});
  const MemoryUsage measured = analyze_memory_usage(model, {64}, 8);
  EXPECT_EQ(measured.text().find("output"), std::string::npos) << measured.text();
  EXPECT_EQ(measured.to_json().find("\"output\""), std::string::npos);
  const MemoryUsage estimated = estimate_memory_usage(model, {64}, 8);
  EXPECT_NE(estimated.text().find("  output  "), std::string::npos) << estimated.text();
  for (const analysis::LayerUsage& layer : estimated.layers) {
    EXPECT_EQ(layer.output, (std::vector<std::int64_t>{8, 64})) << layer.name;
  }
}

TEST(MeasuredUsage, takes_a_model_on_the_stack_a_holder_and_a_pointer) {
  struct OnTheStack : torch::nn::Module {
    at::Tensor forward(const at::Tensor& x) { return linear->forward(x); }
    torch::nn::Linear linear = register_module("linear", torch::nn::Linear(8, 8));
  };
  OnTheStack model;
  const auto pointer = std::make_shared<OnTheStack>();
  const std::int64_t peak = analyze_memory_usage(pointer, {8}, 4).peak;
  EXPECT_GT(peak, 0);
  EXPECT_EQ(analyze_memory_usage(model, {8}, 4).peak, peak);
  EXPECT_EQ(
      analyze_memory_usage({model, [&](const at::Tensor& x) { return model.forward(x); }}, {8}, 4)
          .peak,
      peak);
  EXPECT_EQ(
      PerformanceAnalyzer(model, {8}, {4}, {.training = {.repetitions = 1}}).analyze().rows.size(),
      1U);
  const std::int64_t estimated = estimate_memory_usage(model, {8}, 4).peak;
  EXPECT_GT(estimated, 0);
  EXPECT_EQ(estimate_memory_usage(pointer, {8}, 4).peak, estimated);
  EXPECT_EQ(estimate_memory_usage(torch::nn::Linear(8, 8), {8}, 4).peak, estimated);
}

TEST(MeasuredUsage, refuses_sizes_below_one_and_an_open_budget) {
  torch::nn::Sequential model(torch::nn::Linear(8, 8));
  EXPECT_NE(test::message_of<Error>([&] {
              (void)analyze_memory_usage(model, {8}, 0);
            }).find("analyze_memory_usage"),
            std::string::npos);
  EXPECT_NE(test::message_of<Error>([&] {
              (void)analyze_memory_usage(model, {-8}, 4);
            }).find("analyze_memory_usage"),
            std::string::npos);
  const Scope scope({.budget = Bytes(memory::usage().live + (1 << 24))});
  EXPECT_NE(test::message_of<Error>([&] {
              (void)analyze_memory_usage(model, {8}, 4);
            }).find("trace outside of it"),
            std::string::npos);
}

}  // namespace
}  // namespace neap
