// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What an estimate reports: sums over layers, layers that it does not know, sizes that it assumes,
// a table and JSON. What it refuses.
#include <neap/analysis.h>

#include <gtest/gtest.h>
#include <torch/torch.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace {

using namespace neap;
using analysis::OptimizerKind;
namespace nn = torch::nn;
namespace optim = torch::optim;
using Shape = std::vector<std::int64_t>;

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
  // The activations are not the input: they are what the layers keep for the backward.
  EXPECT_EQ(usage.input, 4 * 3 * 16 * 16 * 4);
  EXPECT_EQ(usage.activations, 4 * 4 * (2 * 8 * 14 * 14 + 10) + 2 * 8 * 4);
}

// One weight under two names. Language models tie their embedding and their head so.
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

// A module without children. The estimate has no rule for it.
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
  // The forward() of such a model has a mean or a reshape between these modules.
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
  // A Linear after a convolution flattens the planes. This follows from its size.
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
