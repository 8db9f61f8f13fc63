// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What each kind of model computes: the layers of an MLP, the planes of a ResNet, which places a
// GPT and a PatchTransformer see, and the levels of a UNet.
#include "nn/small_models.h"

#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace neap::nn {
namespace {

using namespace small_models;

TEST(MLPModel, gelu_follows_the_last_layer_only_when_asked) {
  const at::Tensor input = pictures({3, 4});
  const MLPOptions with{.in = 4, .width = 4, .out = 4, .layers = 2, .activate_last = true};
  MLPOptions without = with;
  without.activate_last = false;
  torch::manual_seed(kSeed);
  const at::Tensor activated = MLP(with)->forward(input);
  torch::manual_seed(kSeed);
  EXPECT_TRUE(same_bits(activated, at::gelu(MLP(without)->forward(input))));
}

TEST(MLPModel, of_widths_has_a_layer_each_with_the_activation_that_was_asked_for) {
  torch::manual_seed(kSeed);
  MLP model(6, std::vector<std::int64_t>{5, 4, 3}, Activation::ReLU, /*activate_last=*/false);
  EXPECT_EQ(count(*model), linear(6, 5) + linear(5, 4) + linear(4, 3));
  const at::Tensor input = pictures({7, 6});
  at::Tensor x = input;
  const std::vector<at::Tensor> all = model->parameters();
  for (std::size_t i = 0; i < all.size(); i += 2) {
    if (i > 0) x = x.relu();
    x = at::linear(x, all[i], all[i + 1]);
  }
  EXPECT_TRUE(same_bits(x, model->forward(input)));
}

TEST(MLPModel, more_than_two_dimensions_are_flattened_from_the_second) {
  MLP model(kMLP);
  const at::Tensor input = pictures({4, 3, 2, 2});
  EXPECT_TRUE(same_bits(model->forward(input), model->forward(input.reshape({4, 12}))));
}

TEST(ResNetModel, a_transition_halves_the_plane_and_doubles_the_channels) {
  ResNet model(kResNet);
  at::Tensor x = model->stem(pictures({2, 1, 16, 12}));
  EXPECT_EQ(x.sizes(), at::IntArrayRef({2, 4, 8, 6}));
  const std::vector<Shape> after{{2, 8, 4, 3}, {2, 16, 2, 2}, {2, 16, 2, 2}};
  ASSERT_EQ(model->blocks.size(), after.size());
  for (std::size_t i = 0; i < after.size(); ++i) {
    SCOPED_TRACE(i);
    x = model->blocks[i]->forward(x);
    EXPECT_EQ(x.sizes(), at::IntArrayRef(after[i]));
  }
}

// The budget of the slides is computed for a plane of 112, from pictures of 224.
TEST(ResNetModel, the_stem_of_the_deck_halves_the_picture) {
  ResNet model(ResNetOptions{.channels = 2, .blocks = 1, .stem_kernel = 7, .stem_stride = 2});
  const torch::NoGradGuard no_grad;
  EXPECT_EQ(model->stem(pictures({1, 3, 224, 224})).sizes(), at::IntArrayRef({1, 2, 112, 112}));
}

TEST(GPTModel, a_token_changes_the_scores_from_its_place_on_and_none_before) {
  torch::manual_seed(kSeed);
  GPT model(kGPT);
  model->eval();
  const at::Tensor input = tokens(2, 7, 11);
  at::Tensor other = input.clone();
  other.select(1, 4).add_(1).remainder_(11);
  const at::Tensor a = model->forward(input), b = model->forward(other);
  for (std::int64_t place = 0; place < 7; ++place) {
    SCOPED_TRACE(place);
    EXPECT_EQ(same_bits(a.select(1, place), b.select(1, place)), place < 4);
  }
}

// In a bidirectional block, even the first place sees the last one.
TEST(PatchTransformerModel, every_patch_sees_every_other) {
  torch::manual_seed(kSeed);
  PatchTransformer model(kPatches);
  model->eval();
  const at::Tensor x = model->stem(pictures({1, 2, 8, 8}));
  at::Tensor other = x.clone();
  other.select(1, 15).mul_(-1);
  const at::Tensor a = model->blocks[0]->forward(x), b = model->blocks[0]->forward(other);
  for (std::int64_t place = 0; place < 16; ++place) {
    SCOPED_TRACE(place);
    EXPECT_FALSE(same_bits(a.select(1, place), b.select(1, place)));
  }
}

// Patches are numbered from left to right, then down.
TEST(PatchTransformerModel, a_patch_is_a_square_of_the_picture) {
  torch::manual_seed(kSeed);
  PatchTransformer model(kPatches);
  model->eval();
  const at::Tensor input = pictures({1, 2, 8, 8});
  at::Tensor other = input.clone();
  other.slice(2, 2, 4).slice(3, 6, 8).add_(1);  // second row of patches, fourth column
  const at::Tensor a = model->stem(input), b = model->stem(other);
  ASSERT_EQ(a.sizes(), at::IntArrayRef({1, 16, 12}));
  for (std::int64_t place = 0; place < 16; ++place) {
    SCOPED_TRACE(place);
    EXPECT_EQ(same_bits(a.select(1, place), b.select(1, place)), place != 7);
  }
}

TEST(UNetModel, one_level_has_no_way_down_and_takes_any_size) {
  UNet model(UNetOptions{.in_channels = 1, .classes = 2, .widths = {3}});
  EXPECT_TRUE(model->up.empty());
  EXPECT_EQ(model->forward(pictures({2, 1, 5, 7})).sizes(), at::IntArrayRef({2, 2, 5, 7}));
}

}  // namespace
}  // namespace neap::nn
