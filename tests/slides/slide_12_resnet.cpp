// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 12: a residual network, each block under a checkpoint.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

struct CheckpointedResNet : torch::nn::Module {
  explicit CheckpointedResNet(int num_blocks = 50) {
    register_module("conv1", conv1);
    register_module("bn1", bn1);
    for (int i = 0; i < num_blocks; ++i) layer1->push_back(residual_block());
    register_module("layer1", layer1);
    register_module("avgpool", avgpool);
    fc = register_module("fc", torch::nn::Linear(64, 1000));
  }
  static torch::nn::Sequential residual_block() {
    const torch::nn::Conv2d first(torch::nn::Conv2dOptions(64, 64, 3).padding(1));
    const torch::nn::Conv2d second(torch::nn::Conv2dOptions(64, 64, 3).padding(1));
    return torch::nn::Sequential(first, torch::nn::BatchNorm2d(64), torch::nn::ReLU(), second,
                                 torch::nn::BatchNorm2d(64));
  }
  torch::Tensor forward(torch::Tensor x) {
    x = torch::relu(bn1(conv1(x)));
    for (const auto& block : *layer1) {
      const auto identity = x;
      x = (use_checkpoint ? neap::checkpoint(block, x)
                          : block->as<torch::nn::Sequential>()->forward(x)) +
          identity;
    }
    return fc(torch::flatten(avgpool(x), 1));
  }
  bool use_checkpoint = true;
  torch::nn::Conv2d conv1{torch::nn::Conv2dOptions(3, 64, 7).stride(2).padding(3)};
  torch::nn::BatchNorm2d bn1{64};
  torch::nn::ModuleList layer1;
  torch::nn::AdaptiveAvgPool2d avgpool{torch::nn::AdaptiveAvgPool2dOptions({1, 1})};
  torch::nn::Linear fc{nullptr};
};

int main() {
  neap::install();
  torch::manual_seed(1);
  CheckpointedResNet model(4);
  torch::manual_seed(1);
  neap::CheckpointedResNet ours(4);  // the same, ready-made
  const auto x = torch::randn({2, 3, 32, 32});
  const auto as = [&](bool use_checkpoint) {
    model.use_checkpoint = use_checkpoint;
    return output_and_gradients(model, [&] { return model.forward(x); });
  };
  const auto plain = as(false);
  return exit_status(same_bytes(plain, as(true))) +
         exit_status(
             same_bytes(plain, output_and_gradients(*ours, [&] { return ours->forward(x); })));
}
