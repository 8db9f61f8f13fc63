// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 2: the memory that a model on the stack needs.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

struct SimpleModel : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& x) { return layer2(torch::relu(layer1(x))); }
  torch::nn::Linear layer1 = register_module("layer1", torch::nn::Linear(784, 512));
  torch::nn::Linear layer2 = register_module("layer2", torch::nn::Linear(512, 10));
};

int main() {
  neap::install();
  SimpleModel model;
  const auto measured = neap::analyze_memory_usage(model, {784}, 32);
  const auto estimated = neap::estimate_memory_usage(model, {784}, 32);
  std::cout << measured.text() << estimated.text();
  constexpr std::int64_t kParameters = 4 * (784 * 512 + 512 + 512 * 10 + 10);
  return estimated.parameters == kParameters && measured.parameters >= kParameters &&
                 measured.optimizer == estimated.optimizer
             ? 0
             : 1;
}
