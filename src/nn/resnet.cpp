// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "nn/options.h"

#include <neap/nn.h>

#include <algorithm>

namespace neap::nn {
namespace {

torch::nn::Conv2d convolution(std::int64_t in, std::int64_t out, std::int64_t kernel = 3,
                              std::int64_t stride = 1) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
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

ResNetImpl::ResNetImpl(const ResNetOptions& options) {
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

at::Tensor ResNetImpl::stem(const at::Tensor& x) { return stem_->forward(x); }

at::Tensor ResNetImpl::head(const at::Tensor& x) { return classifier_->forward(x.mean({2, 3})); }

at::Tensor ResNetImpl::forward(const at::Tensor& x) {
  at::Tensor out = stem(x);
  for (torch::nn::Sequential& block : blocks) out = block->forward(out);
  return head(out);
}

}  // namespace neap::nn
