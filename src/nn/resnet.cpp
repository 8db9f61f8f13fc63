// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "nn/options.h"

#include <neap/nn.h>

#include <ATen/ops/max_pool2d.h>
#include <torch/nn/init.h>

#include <algorithm>
#include <array>
#include <string>

namespace neap::nn {
namespace {

torch::nn::Conv2d convolution(std::int64_t in, std::int64_t out, std::int64_t kernel = 3,
                              std::int64_t stride = 1) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
}

struct Stages {
  std::int64_t depth;
  std::array<std::int64_t, 4> blocks;
  bool bottleneck;
};
// Table 1 of the paper.
constexpr std::array<Stages, 5> kStages{{{18, {2, 2, 2, 2}, false},
                                         {34, {3, 4, 6, 3}, false},
                                         {50, {3, 4, 6, 3}, true},
                                         {101, {3, 4, 23, 3}, true},
                                         {152, {3, 8, 36, 3}, true}}};

const Stages& stages_of(std::int64_t depth) {
  const auto* const stages = std::ranges::find(kStages, depth, &Stages::depth);
  if (stages != kStages.end()) return *stages;
  throw InvalidArgument("ImageNetResNet: depth is " + std::to_string(depth) +
                        "; expected 18, 34, 50, 101 or 152");
}

// Checks before the members are constructed, because LibTorch's messages do not name our options.
const ImageNetResNetOptions& valid(const ImageNetResNetOptions& options) {
  stages_of(options.depth);
  require_positive("ImageNetResNet", "in_channels", options.in_channels);
  require_positive("ImageNetResNet", "classes", options.classes);
  return options;
}

void require_pictures(const char* model, const at::Tensor& x, std::int64_t channels) {
  if (x.dim() == 4 && x.size(1) == channels) return;
  throw InvalidArgument(std::string(model) + ": pictures of " + shape_text(x) + "; expected (B, " +
                        std::to_string(channels) + ", H, W)");
}

}  // namespace

ResidualBlockImpl::ResidualBlockImpl(std::int64_t channels, double dropout)
    : conv1_(register_module("conv1", convolution(channels, channels))),
      conv2_(register_module("conv2", convolution(channels, channels))),
      norm1_(register_module("norm1", torch::nn::BatchNorm2d(channels))),
      norm2_(register_module("norm2", torch::nn::BatchNorm2d(channels))),
      dropout_(register_module("dropout", torch::nn::Dropout(dropout))) {}

at::Tensor ResidualBlockImpl::forward(const at::Tensor& x) {
  at::Tensor out = norm1_->forward(conv1_->forward(x)).relu();
  out = norm2_->forward(conv2_->forward(dropout_->forward(out)));
  return (out + x).relu();
}

ResNetImpl::ResNetImpl(const ResNetOptions& options) : in_channels_(options.in_channels) {
  require_positive("ResNet", "in_channels", options.in_channels);
  require_positive("ResNet", "channels", options.channels);
  require_positive("ResNet", "blocks", options.blocks);
  require_positive("ResNet", "classes", options.classes);
  require_positive("ResNet", "stem_stride", options.stem_stride);
  require_probability("ResNet", "dropout", options.dropout);
  if (options.stem_kernel < 1 || options.stem_kernel % 2 == 0) {
    throw InvalidArgument("ResNet: stem_kernel is " + std::to_string(options.stem_kernel) +
                          "; expected an odd number");
  }
  for (const std::int64_t block : options.downsample_after) {
    if (block < 0 || block >= options.blocks) {
      throw InvalidArgument("ResNet: downsample_after names block " + std::to_string(block) +
                            "; there are " + std::to_string(options.blocks) + ", from 0");
    }
  }

  std::int64_t channels = options.channels;
  stem_ = register_module(
      "stem", torch::nn::Sequential(convolution(options.in_channels, channels, options.stem_kernel,
                                                options.stem_stride),
                                    torch::nn::BatchNorm2d(channels), torch::nn::ReLU()));
  for (std::int64_t index = 0; index < options.blocks; ++index) {
    torch::nn::Sequential block(ResidualBlock(channels, options.dropout));
    if (std::ranges::find(options.downsample_after, index) != options.downsample_after.end()) {
      block->push_back(convolution(channels, 2 * channels, 3, 2));
      channels *= 2;
      block->push_back(torch::nn::BatchNorm2d(channels));
      block->push_back(torch::nn::ReLU());
    }
    blocks.push_back(register_module("block" + std::to_string(index), block));
  }
  classifier_ = register_module("classifier", torch::nn::Linear(channels, options.classes));
}

at::Tensor ResNetImpl::stem(const at::Tensor& x) {
  require_pictures("ResNet", x, in_channels_);
  return stem_->forward(x);
}

at::Tensor ResNetImpl::head(const at::Tensor& x) { return classifier_->forward(x.mean({2, 3})); }

at::Tensor ResNetImpl::forward(const at::Tensor& x) {
  at::Tensor out = stem(x);
  for (torch::nn::Sequential& block : blocks) out = block->forward(out);
  return head(out);
}

StageBlockImpl::StageBlockImpl(std::int64_t in, std::int64_t channels, std::int64_t stride,
                               bool bottleneck) {
  const auto add = [&](std::int64_t from, std::int64_t to, std::int64_t kernel, std::int64_t step) {
    const std::string number = std::to_string(norms_.size() + 1);
    convolutions_.push_back(register_module("conv" + number, convolution(from, to, kernel, step)));
    norms_.push_back(register_module("bn" + number, torch::nn::BatchNorm2d(to)));
  };
  const std::int64_t out = bottleneck ? 4 * channels : channels;
  if (bottleneck) {
    add(in, channels, 1, 1);
    add(channels, channels, 3, stride);
    add(channels, out, 1, 1);
  } else {
    add(in, channels, 3, stride);
    add(channels, out, 3, 1);
  }
  if (in == out && stride == 1) return;
  downsample_ = register_module("downsample", torch::nn::Sequential(convolution(in, out, 1, stride),
                                                                    torch::nn::BatchNorm2d(out)));
}

at::Tensor StageBlockImpl::forward(const at::Tensor& x) {
  at::Tensor out = x;
  for (std::size_t i = 0; i < norms_.size(); ++i) {
    if (i > 0) out = out.relu();
    out = norms_[i]->forward(convolutions_[i]->forward(out));
  }
  return (out + (downsample_ ? downsample_->forward(x) : x)).relu();
}

ImageNetResNetImpl::ImageNetResNetImpl(const ImageNetResNetOptions& options)
    : conv1_(register_module("conv1", convolution(valid(options).in_channels, 64, 7, 2))),
      bn1_(register_module("bn1", torch::nn::BatchNorm2d(64))) {
  const Stages& stages = stages_of(options.depth);
  std::int64_t in = 64;
  for (std::size_t stage = 0; stage < stages.blocks.size(); ++stage) {
    const std::int64_t channels = std::int64_t{64} << stage;
    torch::nn::Sequential layer;
    for (std::int64_t i = 0; i < stages.blocks[stage]; ++i) {
      const std::int64_t stride = i == 0 && stage > 0 ? 2 : 1;
      blocks.emplace_back(in, channels, stride, stages.bottleneck);
      layer->push_back(blocks.back());
      in = stages.bottleneck ? 4 * channels : channels;
    }
    register_module("layer" + std::to_string(stage + 1), layer);
  }
  fc_ = register_module("fc", torch::nn::Linear(in, options.classes));
  // As in "Delving Deep into Rectifiers", He et al., arXiv 1502.01852.
  for (const auto& module : modules(/*include_self=*/false)) {
    if (auto* const layer = module->as<torch::nn::Conv2d>()) {
      torch::nn::init::kaiming_normal_(layer->weight, 0, torch::kFanOut, torch::kReLU);
    }
  }
}

at::Tensor ImageNetResNetImpl::stem(const at::Tensor& x) {
  require_pictures("ImageNetResNet", x, conv1_->options.in_channels());
  return at::max_pool2d(bn1_->forward(conv1_->forward(x)).relu(), 3, 2, 1);
}

at::Tensor ImageNetResNetImpl::head(const at::Tensor& x) { return fc_->forward(x.mean({2, 3})); }

at::Tensor ImageNetResNetImpl::forward(const at::Tensor& x) {
  at::Tensor out = stem(x);
  for (StageBlock& block : blocks) out = block->forward(out);
  return head(out);
}

}  // namespace neap::nn
