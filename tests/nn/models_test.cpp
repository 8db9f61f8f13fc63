// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What holds for every model: the shape of its output, the random numbers that it draws, its
// gradients, and its blocks. The benchmarks and the tests of equal bits depend on it.
#include "nn/small_models.h"

#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace neap::nn {
namespace {

using namespace small_models;

// One thread for the tests of this program. Their operators are tiny: on a busy machine, threads
// that wait for each other took 13 s instead of 0.3 s.
class OneThread : public ::testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};
const auto* const kOneThread = ::testing::AddGlobalTestEnvironment(new OneThread);

// A small model of one kind.
struct Family {
  std::string name;
  std::function<at::Tensor(std::uint64_t seed)> run;  // model, input and one forward pass
  Shape shape;                                        // of the output
};

template <class Model, class Options>
Family family(const std::string& name, const Options& options, std::function<at::Tensor()> input,
              const Shape& shape) {
  const auto run = [options, input = std::move(input)](std::uint64_t seed) {
    torch::manual_seed(seed);
    Model model(options);
    return model->forward(input());
  };
  return {name, run, shape};
}

std::vector<Family> families() {
  return {
      family<MLP>("MLP", kMLP,
                  [] {
                    return pictures({4, 3, 2, 2});
                  },
                  {4, 5}),
      family<ResNet>("ResNet", kResNet,
                     [] {
                       return pictures({4, 1, 16, 12});
                     },
                     {4, 6}),
      family<GPT>("GPT", kGPT, [] { return tokens(4, 7, 11); }, {4, 7, 11}),
      family<PatchTransformer>("PatchTransformer", kPatches,
                               [] {
                                 return pictures({4, 2, 8, 8});
                               },
                               {4, 5}),
      family<UNet>("UNet", kUNet,
                   [] {
                     return pictures({4, 2, 8, 12});
                   },
                   {4, 3, 8, 12}),
  };
}

TEST(Models, outputs_have_the_documented_shapes) {
  for (const Family& family : families()) {
    SCOPED_TRACE(family.name);
    const at::Tensor out = family.run(kSeed);
    EXPECT_EQ(out.sizes(), at::IntArrayRef(family.shape));
    EXPECT_EQ(out.dtype(), torch::kFloat);
    EXPECT_TRUE(out.isfinite().all().item<bool>());
  }
}

TEST(Models, an_equal_seed_gives_equal_bits_and_another_seed_does_not) {
  for (const Family& family : families()) {
    SCOPED_TRACE(family.name);
    const at::Tensor first = family.run(kSeed);
    EXPECT_TRUE(same_bits(first, family.run(kSeed)));
    EXPECT_FALSE(same_bits(first, family.run(kSeed + 1)));
  }
}

template <class Model>
void expect_a_gradient_for_every_parameter(Model model, const at::Tensor& input) {
  // The sum of squares: a plain sum has no gradient through a softmax or a normalization.
  model->forward(input).square().sum().backward();
  for (const auto& parameter : model->named_parameters()) {
    SCOPED_TRACE(parameter.key());
    ASSERT_TRUE(parameter.value().grad().defined());
    EXPECT_EQ(parameter.value().grad().sizes(), parameter.value().sizes());
    EXPECT_TRUE(parameter.value().grad().isfinite().all().template item<bool>());
    EXPECT_GT(parameter.value().grad().abs().sum().template item<float>(), 0);
  }
}

TEST(Models, backward_gives_every_parameter_a_gradient) {
  torch::manual_seed(kSeed);
  expect_a_gradient_for_every_parameter(MLP(kMLP), pictures({4, 12}));
  expect_a_gradient_for_every_parameter(ResNet(kResNet), pictures({4, 1, 16, 12}));
  expect_a_gradient_for_every_parameter(GPT(kGPT), tokens(4, 7, 11));
  expect_a_gradient_for_every_parameter(PatchTransformer(kPatches), pictures({4, 2, 8, 8}));
  expect_a_gradient_for_every_parameter(UNet(kUNet), pictures({4, 2, 8, 12}));
}

// forward(x) gives the bits of a caller's own loop over the blocks, with the same random numbers.
template <class Model>
void expect_parts_make_the_whole(Model model, const at::Tensor& input) {
  torch::manual_seed(kSeed);
  const at::Tensor whole = model->forward(input);
  torch::manual_seed(kSeed);
  at::Tensor x = model->stem(input);
  for (auto& block : model->blocks) x = block->forward(x);
  EXPECT_TRUE(same_bits(whole, model->head(x)));
}

TEST(Models, stem_blocks_and_head_in_a_loop_are_the_whole_model) {
  expect_parts_make_the_whole(ResNet(kResNet), pictures({4, 1, 16, 12}));
  expect_parts_make_the_whole(GPT(kGPT), tokens(4, 7, 11));
  expect_parts_make_the_whole(PatchTransformer(kPatches), pictures({4, 2, 8, 8}));

  MLP model(kMLP);  // it has blocks, and neither stem nor head
  const at::Tensor input = pictures({4, 12});
  at::Tensor x = input;
  for (auto& block : model->blocks) x = block->forward(x);
  EXPECT_TRUE(same_bits(model->forward(input), x));
}

TEST(Models, there_is_one_block_for_each_that_the_options_ask_for) {
  EXPECT_EQ(MLP(kMLP)->blocks.size(), 3u);
  EXPECT_EQ(ResNet(kResNet)->blocks.size(), 3u);
  EXPECT_EQ(GPT(kGPT)->blocks.size(), 2u);
  EXPECT_EQ(PatchTransformer(kPatches)->blocks.size(), 2u);
  EXPECT_EQ(UNet(kUNet)->down.size(), 3u);
  EXPECT_EQ(UNet(kUNet)->grow.size(), 2u);
  EXPECT_EQ(UNet(kUNet)->up.size(), 2u);
}

// A dropout of 0 draws nothing, so the generator of the caller stays as it is.
TEST(Models, no_dropout_draws_no_random_numbers) {
  torch::manual_seed(kSeed);
  ResNet model(ResNetOptions{.channels = 4, .blocks = 2, .dropout = 0});
  const at::Tensor input = pictures({2, 3, 8, 8});
  torch::manual_seed(kSeed);
  const at::Tensor expected = torch::rand({4});
  torch::manual_seed(kSeed);
  model->forward(input);
  EXPECT_TRUE(same_bits(expected, torch::rand({4})));
}

TEST(Models, dropout_acts_in_training_and_not_in_evaluation) {
  GPT model(kGPT);
  const at::Tensor input = tokens(2, 5, 11);
  EXPECT_FALSE(same_bits(model->forward(input), model->forward(input)));
  model->eval();
  EXPECT_TRUE(same_bits(model->forward(input), model->forward(input)));
}

}  // namespace
}  // namespace neap::nn
