// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The number of parameters of each model, written out by hand, layer by layer.
#include "nn/small_models.h"

#include <neap/nn.h>

#include <gtest/gtest.h>

#include <cstdint>

namespace neap::nn {
namespace {

using namespace small_models;

// The number of parameters of a part of a model.
constexpr std::int64_t conv_norm(std::int64_t in, std::int64_t out, std::int64_t kernel = 3) {
  return in * out * kernel * kernel + 2 * out;
}
constexpr std::int64_t residual(std::int64_t channels) { return 2 * conv_norm(channels, channels); }
constexpr std::int64_t transformer(std::int64_t width) {
  return 2 * width + linear(width, 3 * width) + linear(width, width) +  // attention
         2 * width + linear(width, 4 * width) + linear(4 * width, width);
}

TEST(ParameterCounts, of_the_small_models_are_those_of_their_layers) {
  EXPECT_EQ(count(*MLP(kMLP)), linear(12, 8) + linear(8, 8) + linear(8, 5));
  EXPECT_EQ(count(*MLP(MLPOptions{.in = 6, .width = 99, .out = 2, .layers = 1})), linear(6, 2));
  EXPECT_EQ(count(*ResNet(kResNet)), conv_norm(1, 4, /*kernel=*/5) +       //
                                         residual(4) + conv_norm(4, 8) +   // transition
                                         residual(8) + conv_norm(8, 16) +  // transition
                                         residual(16) + linear(16, 6));
  EXPECT_EQ(count(*GPT(kGPT)), 11 * 8 + 9 * 8 + 2 * transformer(8) + 2 * 8 + 8 * 11);
  EXPECT_EQ(count(*PatchTransformer(kPatches)),
            linear(2 * 2 * 2, 12) + 16 * 12 + 2 * transformer(12) + 2 * 12 + linear(12, 5));
  EXPECT_EQ(count(*UNet(kUNet)), conv_norm(2, 3) + conv_norm(3, 3) +                       // down
                                     conv_norm(3, 5) + conv_norm(5, 5) +                   //
                                     conv_norm(5, 6) + conv_norm(6, 6) +                   //
                                     6 * 5 * 4 + 5 + conv_norm(10, 5) + conv_norm(5, 5) +  // up
                                     5 * 3 * 4 + 3 + conv_norm(6, 3) + conv_norm(3, 3) +   //
                                     3 * 3 + 3);  // convolution 1x1
}

// The comparison with other programs uses these models. Another count would mean another model.
TEST(ParameterCounts, of_the_defaults_are_those_of_the_compared_models) {
  EXPECT_EQ(count(*ResNet(ResNetOptions{})), conv_norm(3, 32) + 16 * residual(32) + linear(32, 10));
  EXPECT_EQ(count(*GPT(GPTOptions{})),
            256 * 256 + 256 * 256 + 6 * transformer(256) + 2 * 256 + 256 * 256);
  EXPECT_EQ(count(*MLP(MLPOptions{.layers = 2})), 2 * linear(1024, 1024));
  EXPECT_EQ(MLPOptions{}.layers, 24);
  EXPECT_EQ(count(*UNet(UNetOptions{})),
            conv_norm(3, 16) + conv_norm(16, 16) + conv_norm(16, 32) + conv_norm(32, 32) +
                conv_norm(32, 64) + conv_norm(64, 64) + conv_norm(64, 128) + conv_norm(128, 128) +
                (128 * 64 * 4 + 64) + conv_norm(128, 64) + conv_norm(64, 64) + (64 * 32 * 4 + 32) +
                conv_norm(64, 32) + conv_norm(32, 32) + (32 * 16 * 4 + 16) + conv_norm(32, 16) +
                conv_norm(16, 16) + linear(16, 4));
  const ResNetOptions deck{.channels = 64,
                           .blocks = 50,
                           .classes = 1000,
                           .dropout = 0,
                           .stem_kernel = 7,
                           .stem_stride = 2};
  EXPECT_EQ(count(*ResNet(deck)), conv_norm(3, 64, 7) + 50 * residual(64) + linear(64, 1000));
}

}  // namespace
}  // namespace neap::nn
