// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Models refuse wrong options with the name of the option, and wrong inputs with the shape that
// they take.
#include "nn/small_models.h"

#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstdint>
#include <exception>
#include <limits>
#include <string>
#include <vector>

namespace neap::nn {
namespace {

using namespace small_models;

// `make` must throw InvalidArgument, and its text must name the option.
template <class Make>
void expect_refused(const std::string& option, const Make& make) {
  SCOPED_TRACE(option);
  try {
    make();
    ADD_FAILURE() << "accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(option), std::string::npos) << error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "not InvalidArgument: " << std::string(error.what()).substr(0, 120);
  }
}

TEST(WrongOptions, of_an_mlp_are_refused_by_name) {
  expect_refused("in", [] { MLP(MLPOptions{.in = 0}); });
  expect_refused("width", [] { MLP(MLPOptions{.width = -1}); });
  expect_refused("out", [] { MLP(MLPOptions{.out = 0}); });
  expect_refused("layers", [] { MLP(MLPOptions{.layers = 0}); });
  using Widths = std::vector<std::int64_t>;
  expect_refused("number of widths", [] { MLP(4, Widths{}, Activation::ReLU, true); });
  expect_refused("one of widths", [] { MLP(4, Widths{3, 0}, Activation::ReLU, true); });
  expect_refused("in is 0", [] { MLP(0, Widths{3}, Activation::ReLU, true); });
}

TEST(WrongOptions, of_a_resnet_are_refused_by_name) {
  expect_refused("in_channels", [] { ResNet(ResNetOptions{.in_channels = 0}); });
  expect_refused("channels", [] { ResNet(ResNetOptions{.channels = -4}); });
  expect_refused("blocks", [] { ResNet(ResNetOptions{.blocks = 0}); });
  expect_refused("classes", [] { ResNet(ResNetOptions{.classes = 0}); });
  expect_refused("stem_kernel", [] { ResNet(ResNetOptions{.stem_kernel = 4}); });
  expect_refused("stem_stride", [] { ResNet(ResNetOptions{.stem_stride = 0}); });
  for (const double dropout : {-0.1, 1.0, std::numeric_limits<double>::quiet_NaN()}) {
    expect_refused("dropout", [dropout] { ResNet(ResNetOptions{.dropout = dropout}); });
  }
  for (const std::int64_t index : {-1, 16}) {
    expect_refused("downsample_after",
                   [index] { ResNet(ResNetOptions{.downsample_after = {index}}); });
  }
}

TEST(WrongOptions, of_a_gpt_are_refused_by_name) {
  expect_refused("vocabulary", [] { GPT(GPTOptions{.vocabulary = 0}); });
  expect_refused("vocabulary", [] { GPT(GPTOptions{.vocabulary = -1}); });
  expect_refused("context", [] { GPT(GPTOptions{.context = -1}); });
  expect_refused("width", [] { GPT(GPTOptions{.width = -8}); });
  expect_refused("heads", [] { GPT(GPTOptions{.heads = 0}); });
  expect_refused("heads", [] { GPT(GPTOptions{.heads = 3}); });
  expect_refused("layers", [] { GPT(GPTOptions{.layers = 0}); });
  expect_refused("dropout", [] { GPT(GPTOptions{.dropout = -0.1}); });
  expect_refused("dropout", [] { GPT(GPTOptions{.dropout = 1.5}); });
}

TEST(WrongOptions, of_a_patch_transformer_are_refused_by_name) {
  using Options = PatchTransformerOptions;
  expect_refused("image", [] { PatchTransformer(Options{.image = 0}); });
  expect_refused("channels", [] { PatchTransformer(Options{.channels = 0}); });
  expect_refused("patch", [] { PatchTransformer(Options{.patch = 0}); });
  expect_refused("patch", [] { PatchTransformer(Options{.patch = 5}); });
  expect_refused("width", [] { PatchTransformer(Options{.width = 0}); });
  expect_refused("heads", [] { PatchTransformer(Options{.heads = 5}); });
  expect_refused("layers", [] { PatchTransformer(Options{.layers = 0}); });
  expect_refused("classes", [] { PatchTransformer(Options{.classes = -1}); });
  expect_refused("dropout", [] { PatchTransformer(Options{.dropout = 1.5}); });
}

TEST(WrongOptions, of_a_unet_are_refused_by_name) {
  expect_refused("in_channels", [] { UNet(UNetOptions{.in_channels = 0}); });
  expect_refused("classes", [] { UNet(UNetOptions{.classes = 0}); });
  expect_refused("widths", [] { UNet(UNetOptions{.widths = {}}); });
  expect_refused("widths", [] { UNet(UNetOptions{.widths = {4, 0}}); });
}

TEST(WrongInputs, of_a_resnet_are_refused_with_what_fits) {
  ResNet model(kResNet);
  expect_refused("(B, 1, H, W)", [&] { model->forward(pictures({2, 3, 8, 8})); });
  expect_refused("(B, 1, H, W)", [&] { model->forward(pictures({1, 8, 8})); });
}

TEST(WrongInputs, of_a_gpt_are_refused_with_what_fits) {
  GPT model(kGPT);
  expect_refused("context", [&] { model->forward(tokens(1, 10, 11)); });
  expect_refused("(B, T)", [&] { model->forward(tokens(1, 4, 11).flatten()); });
  expect_refused("(B, T)", [&] { model->forward(torch::zeros({}, torch::kInt64)); });
}

}  // namespace
}  // namespace neap::nn
