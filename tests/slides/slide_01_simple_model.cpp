// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 1: the middle layer of three is checkpointed.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

struct SimpleModel : torch::nn::Module {
  torch::Tensor forward(torch::Tensor x) {
    x = layer1(x);
    x = neap::checkpoint(layer2, x);
    return layer3(x);
  }
  torch::nn::Linear layer1 = register_module("layer1", torch::nn::Linear(784, 512));
  torch::nn::Linear layer2 = register_module("layer2", torch::nn::Linear(512, 256));
  torch::nn::Linear layer3 = register_module("layer3", torch::nn::Linear(256, 10));
};

int main() {
  neap::install();
  SimpleModel model;
  const auto x = torch::randn({32, 784});
  return compare(
      model, [&] { return model.forward(x); },
      [&] { return model.layer3(model.layer2(model.layer1(x))); });
}
