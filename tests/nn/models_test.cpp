// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The models are what benchmarks and equal-bits tests stand on, so their shapes, their parameter
// counts and their random numbers are exact here. Counts are written out by hand, layer by layer.
#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace neap::nn {
namespace {

using Shape = std::vector<std::int64_t>;

constexpr std::uint64_t kSeed = 7;

// Tiny operators: on a busy machine, threads that wait for each other took 13 s in place of 0.3 s.
class OneThread : public ::testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};
const auto* const kOneThread = ::testing::AddGlobalTestEnvironment(new OneThread);

std::int64_t count(const torch::nn::Module& model) {
  std::int64_t sum = 0;
  for (const at::Tensor& parameter : model.parameters()) sum += parameter.numel();
  return sum;
}

// Parameters of a layer.
constexpr std::int64_t linear(std::int64_t in, std::int64_t out) { return in * out + out; }
constexpr std::int64_t conv_norm(std::int64_t in, std::int64_t out, std::int64_t kernel = 3) {
  return in * out * kernel * kernel + 2 * out;
}
constexpr std::int64_t residual(std::int64_t channels) { return 2 * conv_norm(channels, channels); }
constexpr std::int64_t transformer(std::int64_t width) {
  return 2 * width + linear(width, 3 * width) + linear(width, width) +  // attention
         2 * width + linear(width, 4 * width) + linear(4 * width, width);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() && x.dtype() == y.dtype() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

at::Tensor pictures(const Shape& shape) { return torch::randn(shape); }
at::Tensor tokens(std::int64_t rows, std::int64_t time, std::int64_t words) {
  return torch::randint(words, {rows, time}, torch::kInt64);
}

// A small one of each kind, every option away from its default, with dropout where there is any.
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

const MLPOptions kMLP{.in = 12, .width = 8, .out = 5, .layers = 3, .activate_last = false};
const ResNetOptions kResNet{.in_channels = 1,
                            .channels = 4,
                            .blocks = 3,
                            .classes = 6,
                            .dropout = 0.2,
                            .stem_kernel = 5,
                            .stem_stride = 2,
                            .downsample_after = {0, 1}};
const GPTOptions kGPT{
    .vocabulary = 11, .context = 9, .width = 8, .heads = 2, .layers = 2, .dropout = 0.2};
const PatchTransformerOptions kPatches{.image = 8,
                                       .channels = 2,
                                       .patch = 2,
                                       .width = 12,
                                       .heads = 3,
                                       .layers = 2,
                                       .classes = 5,
                                       .dropout = 0.2};
const UNetOptions kUNet{.in_channels = 2, .classes = 3, .widths = {3, 5, 6}};

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

// forward(x) and the loop that a caller writes around the blocks, with the same random numbers.
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

  MLP model(kMLP);  // blocks alone
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

// Dropout of 0 must not draw: a model without dropout would else depend on the generator's state.
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

// The models of the comparison with other programs: another count is another model.
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

// 224 to 112: the plane that the deck's budget is computed for.
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

// A bidirectional block lets the first place see the last one.
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

// Places from left to right, then down; positions are added, so a moved patch is another picture.
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

// Throwing anything but InvalidArgument, or a text without the option, fails.
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
