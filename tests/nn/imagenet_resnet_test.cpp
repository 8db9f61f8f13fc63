// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// ImageNetResNet takes torchvision's weights. So these tests are exact about names, shapes and what
// each block computes.
#include <neap/nn.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace neap::nn {
namespace {

using Shape = std::vector<std::int64_t>;

ImageNetResNet of_depth(std::int64_t depth) {
  return ImageNetResNet(ImageNetResNetOptions{.depth = depth});
}

TEST(ImageNetResNetModel, has_the_published_number_of_parameters_at_each_depth) {
  const std::vector<std::pair<std::int64_t, std::int64_t>> expected{
      {18, 11'689'512}, {34, 21'797'672}, {50, 25'557'032}, {101, 44'549'160}, {152, 60'192'808}};
  for (const auto& [depth, parameters] : expected) {
    std::int64_t sum = 0;
    for (const at::Tensor& parameter : of_depth(depth)->parameters()) sum += parameter.numel();
    EXPECT_EQ(sum, parameters) << "ResNet-" << depth;
  }
}

// Names as torchvision writes them: a norm has five entries, a convolution one.
std::vector<std::string> expected_names(const std::vector<int>& blocks, int convolutions) {
  std::vector<std::string> names;
  const auto norm = [&](const std::string& name) {
    for (const char* entry :
         {".weight", ".bias", ".running_mean", ".running_var", ".num_batches_tracked"}) {
      names.push_back(name + entry);
    }
  };
  names.push_back("conv1.weight");
  norm("bn1");
  for (std::size_t stage = 0; stage < blocks.size(); ++stage) {
    for (int block = 0; block < blocks[stage]; ++block) {
      const std::string place =
          "layer" + std::to_string(stage + 1) + "." + std::to_string(block) + ".";
      for (int i = 1; i <= convolutions; ++i) {
        names.push_back(place + "conv" + std::to_string(i) + ".weight");
        norm(place + "bn" + std::to_string(i));
      }
      // The first stage of ResNet-18 has as many channels as its input, so it has no downsample.
      if (block > 0 || (stage == 0 && convolutions == 2)) continue;
      names.push_back(place + "downsample.0.weight");
      norm(place + "downsample.1");
    }
  }
  names.push_back("fc.weight");
  names.push_back("fc.bias");
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> names_of(const torch::nn::Module& model) {
  std::vector<std::string> names;
  for (const auto& item : model.named_parameters()) names.push_back(item.key());
  for (const auto& item : model.named_buffers()) names.push_back(item.key());
  std::ranges::sort(names);
  return names;
}

TEST(ImageNetResNetModel, has_the_names_of_torchvision) {
  EXPECT_EQ(names_of(*of_depth(18)), expected_names({2, 2, 2, 2}, 2));
  EXPECT_EQ(names_of(*of_depth(50)), expected_names({3, 4, 6, 3}, 3));
}

TEST(ImageNetResNetModel, has_the_shapes_of_torchvision) {
  const auto parameters = of_depth(50)->named_parameters();
  EXPECT_EQ(parameters["conv1.weight"].sizes(), at::IntArrayRef({64, 3, 7, 7}));
  EXPECT_EQ(parameters["layer1.0.downsample.0.weight"].sizes(), at::IntArrayRef({256, 64, 1, 1}));
  EXPECT_EQ(parameters["layer2.0.conv1.weight"].sizes(), at::IntArrayRef({128, 256, 1, 1}));
  EXPECT_EQ(parameters["layer2.0.conv2.weight"].sizes(), at::IntArrayRef({128, 128, 3, 3}));
  EXPECT_EQ(parameters["layer4.2.conv3.weight"].sizes(), at::IntArrayRef({2048, 512, 1, 1}));
  EXPECT_EQ(parameters["fc.weight"].sizes(), at::IntArrayRef({1000, 2048}));
}

TEST(ImageNetResNetModel, halves_the_plane_at_each_stage_but_the_first) {
  const torch::NoGradGuard no_grad;
  ImageNetResNet model = of_depth(18);
  at::Tensor x = model->stem(torch::randn({2, 3, 64, 64}));
  EXPECT_EQ(x.sizes(), at::IntArrayRef({2, 64, 16, 16}));
  const std::vector<Shape> after{{2, 64, 16, 16}, {2, 64, 16, 16}, {2, 128, 8, 8}, {2, 128, 8, 8},
                                 {2, 256, 4, 4},  {2, 256, 4, 4},  {2, 512, 2, 2}, {2, 512, 2, 2}};
  ASSERT_EQ(model->blocks.size(), after.size());
  for (std::size_t i = 0; i < after.size(); ++i) {
    x = model->blocks[i]->forward(x);
    EXPECT_EQ(x.sizes(), at::IntArrayRef(after[i])) << "block " << i;
  }
  EXPECT_EQ(model->head(x).sizes(), at::IntArrayRef({2, 1000}));
}

// ---- Compared with the same, written with functions ----

class Written {
 public:
  explicit Written(const torch::nn::Module& module)
      : parameters_(module.named_parameters()), buffers_(module.named_buffers()) {}

  [[nodiscard]] at::Tensor conv(const std::string& name, const at::Tensor& x,
                                std::int64_t stride) const {
    const at::Tensor weight = parameters_[name + ".weight"];
    return torch::conv2d(x, weight, {}, stride, weight.size(2) / 2);
  }
  [[nodiscard]] at::Tensor norm(const std::string& name, const at::Tensor& x) const {
    return torch::batch_norm(x, parameters_[name + ".weight"], parameters_[name + ".bias"],
                             buffers_[name + ".running_mean"], buffers_[name + ".running_var"],
                             /*training=*/false, 0.1, 1e-5, false);
  }
  [[nodiscard]] at::Tensor linear(const std::string& name, const at::Tensor& x) const {
    return torch::nn::functional::linear(x, parameters_[name + ".weight"],
                                         parameters_[name + ".bias"]);
  }

 private:
  torch::OrderedDict<std::string, at::Tensor> parameters_, buffers_;
};

void expect_same_bits(const at::Tensor& expected, const at::Tensor& found) {
  ASSERT_EQ(expected.sizes(), found.sizes());
  const at::Tensor a = expected.contiguous(), b = found.contiguous();
  EXPECT_EQ(std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()), 0);
}

TEST(ImageNetResNetModel, has_the_stride_of_a_bottleneck_in_its_convolution_3x3) {
  torch::manual_seed(3);
  StageBlock block(32, 8, /*stride=*/2, /*bottleneck=*/true);
  block->eval();
  const Written written(*block);
  const at::Tensor x = torch::randn({2, 32, 10, 10});
  at::Tensor out = written.norm("bn1", written.conv("conv1", x, 1)).relu();
  out = written.norm("bn2", written.conv("conv2", out, 2)).relu();
  out = written.norm("bn3", written.conv("conv3", out, 1));
  out = out + written.norm("downsample.1", written.conv("downsample.0", x, 2));
  expect_same_bits(out.relu(), block->forward(x));
}

TEST(ImageNetResNetModel, has_the_stride_of_a_basic_block_in_its_first_convolution) {
  torch::manual_seed(3);
  StageBlock block(8, 8, /*stride=*/1, /*bottleneck=*/false), narrower(8, 16, 2, false);
  for (StageBlock* one : {&block, &narrower}) {
    (*one)->eval();
    const Written written(**one);
    const std::int64_t stride = one == &block ? 1 : 2;
    const at::Tensor x = torch::randn({2, 8, 10, 10});
    at::Tensor out = written.norm("bn1", written.conv("conv1", x, stride)).relu();
    out = written.norm("bn2", written.conv("conv2", out, 1));
    out =
        out + (stride == 1 ? x : written.norm("downsample.1", written.conv("downsample.0", x, 2)));
    expect_same_bits(out.relu(), (*one)->forward(x));
  }
}

TEST(ImageNetResNetModel, is_stem_blocks_and_head_in_a_row) {
  torch::manual_seed(3);
  ImageNetResNet model(ImageNetResNetOptions{.depth = 18, .in_channels = 1, .classes = 5});
  model->eval();
  const Written written(*model);
  const at::Tensor x = torch::randn({2, 1, 64, 64});
  at::Tensor out = written.norm("bn1", written.conv("conv1", x, 2)).relu();
  out = torch::max_pool2d(out, 3, 2, 1);
  expect_same_bits(out, model->stem(x));
  for (StageBlock& block : model->blocks) out = block->forward(out);
  out = written.linear("fc", out.mean({2, 3}));
  expect_same_bits(out, model->forward(x));
}

TEST(ImageNetResNetModel, starts_with_as_much_out_as_in_and_norms_that_change_nothing) {
  torch::manual_seed(3);
  const auto parameters = of_depth(18)->named_parameters();
  // The standard deviation is sqrt(2 / (channels out x kernel plane)), with 256 channels in and 512
  // out. A sample of 1.2 million is near it.
  const double deviation = parameters["layer4.0.conv1.weight"].std().item<double>();
  EXPECT_NEAR(deviation * std::sqrt(512 * 9 / 2.0), 1, 0.005);
  EXPECT_TRUE(parameters["layer1.0.bn2.weight"].eq(1).all().item<bool>());
  EXPECT_TRUE(parameters["layer1.0.bn2.bias"].eq(0).all().item<bool>());
}

template <class Call>
void expect_refused(const std::string& text, const Call& call) {
  try {
    call();
    ADD_FAILURE() << "accepted: " << text;
  } catch (const InvalidArgument& error) {
    EXPECT_EQ(error.what(), text);
  }
}

TEST(ImageNetResNetModel, refuses_other_depths_and_pictures_by_name) {
  expect_refused("ImageNetResNet: depth is 42; expected 18, 34, 50, 101 or 152",
                 [] { of_depth(42); });
  expect_refused("ImageNetResNet: in_channels is 0; expected 1 or more",
                 [] { ImageNetResNet(ImageNetResNetOptions{.in_channels = 0}); });
  expect_refused("ImageNetResNet: classes is -1; expected 1 or more",
                 [] { ImageNetResNet(ImageNetResNetOptions{.classes = -1}); });
  expect_refused("ImageNetResNet: pictures of (2, 1, 64, 64); expected (B, 3, H, W)", [] {
    of_depth(18)->forward(torch::zeros({2, 1, 64, 64}));
  });
}

}  // namespace
}  // namespace neap::nn
