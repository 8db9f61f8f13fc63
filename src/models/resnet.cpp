// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "models/adopt.h"
#include "nn/options.h"

#include <neap/models.h>

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>

#include <utility>

namespace neap {
namespace {

constexpr std::int64_t kChannels = 64, kClasses = 1000;

torch::nn::Conv2d convolution(std::int64_t in, std::int64_t kernel, std::int64_t stride = 1) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(in, kChannels, kernel).stride(stride).padding(kernel / 2));
}

std::vector<torch::nn::Sequential> blocks_of(std::int64_t count) {
  nn::require_positive("CheckpointedResNet", "num_blocks", count);
  std::vector<torch::nn::Sequential> blocks;
  for (std::int64_t i = 0; i < count; ++i) {
    // One after the other, because the order of evaluation of arguments is not defined, and each
    // convolution draws its weights.
    torch::nn::Sequential block(convolution(kChannels, 3), torch::nn::BatchNorm2d(kChannels),
                                torch::nn::ReLU());
    block->push_back(convolution(kChannels, 3));
    block->push_back(torch::nn::BatchNorm2d(kChannels));
    blocks.push_back(block);
  }
  return blocks;
}

// Members are in the order of the slides, because they draw their weights in that order.
struct SlideNet {
  explicit SlideNet(std::int64_t num_blocks) : blocks(blocks_of(num_blocks)) {}

  void become_part_of(torch::nn::Module& model) {
    model.register_module("conv1", conv1);
    model.register_module("bn1", bn1);
    torch::nn::ModuleList layer1;
    for (const torch::nn::Sequential& block : blocks) layer1->push_back(block);
    model.register_module("layer1", layer1);
    model.register_module("avgpool", avgpool);
    model.register_module("fc", fc);
  }
  at::Tensor stem(const at::Tensor& x) {
    if (x.dim() != 4 || x.size(1) != 3) {
      throw InvalidArgument("CheckpointedResNet: pictures of " + nn::shape_text(x) +
                            "; expected (B, 3, H, W)");
    }
    return bn1->forward(conv1->forward(x)).relu();
  }
  at::Tensor head(const at::Tensor& x) { return fc->forward(avgpool->forward(x).flatten(1)); }

  torch::nn::Conv2d conv1{convolution(3, 7, 2)};
  torch::nn::BatchNorm2d bn1{kChannels};
  std::vector<torch::nn::Sequential> blocks;
  torch::nn::AdaptiveAvgPool2d avgpool{torch::nn::AdaptiveAvgPool2dOptions({1, 1})};
  torch::nn::Linear fc{kChannels, kClasses};
};

}  // namespace

void CheckpointedResNetImpl::set_parts(Layer stem, std::vector<Layer> blocks, Layer head,
                                       const Segmentation& segmentation) {
  // The inside of the stem is as large as that of a block, so it joins the first segment.
  blocks.front() = [stem = std::move(stem), block = std::move(blocks.front())](
                       const at::Tensor& x) { return block(stem(x)); };
  const auto count = static_cast<std::int64_t>(blocks.size());
  set_layers(std::move(blocks), segmentation.ends(count));
  head_ = std::move(head);
}

template <class Model>
void CheckpointedResNetImpl::wrap(Model model, const Segmentation& segmentation) {
  models::adopt(*this, *model);
  std::vector<Layer> blocks;
  for (auto block : model->blocks) {
    blocks.push_back([block](const at::Tensor& x) mutable { return block->forward(x); });
  }
  set_parts([model](const at::Tensor& x) mutable { return model->stem(x); }, std::move(blocks),
            [model](const at::Tensor& x) mutable { return model->head(x); }, segmentation);
}

CheckpointedResNetImpl::CheckpointedResNetImpl(std::int64_t num_blocks,
                                               const Segmentation& segmentation) {
  const auto net = std::make_shared<SlideNet>(num_blocks);
  net->become_part_of(*this);
  std::vector<Layer> blocks;
  for (torch::nn::Sequential block : net->blocks) {
    blocks.push_back([block](const at::Tensor& x) mutable { return block->forward(x) + x; });
  }
  set_parts([net](const at::Tensor& x) { return net->stem(x); }, std::move(blocks),
            [net](const at::Tensor& x) { return net->head(x); }, segmentation);
}

CheckpointedResNetImpl::CheckpointedResNetImpl(const nn::ResNet& model,
                                               const Segmentation& segmentation) {
  wrap(model, segmentation);
}

CheckpointedResNetImpl::CheckpointedResNetImpl(const nn::ImageNetResNet& model,
                                               const Segmentation& segmentation) {
  wrap(model, segmentation);
}

at::Tensor CheckpointedResNetImpl::forward(const at::Tensor& x) { return head_(run(x)); }

}  // namespace neap
