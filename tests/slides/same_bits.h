// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/slides/same_bits.h: compares the training on a slide with the same in plain LibTorch, byte
// for byte.
#pragma once

#include <torch/torch.h>

#include <cstring>
#include <functional>
#include <iostream>
#include <vector>

// The output of `forward`, and the gradients of the module's parameters after its backward.
inline std::vector<torch::Tensor> output_and_gradients(
    torch::nn::Module& module, const std::function<torch::Tensor()>& forward) {
  module.zero_grad();
  torch::manual_seed(5);  // dropout
  const torch::Tensor output = forward();
  output.square().mean().backward();
  std::vector<torch::Tensor> all{output.detach().clone()};
  for (const torch::Tensor& parameter : module.parameters()) {
    all.push_back(parameter.grad().clone());
  }
  return all;
}

inline bool same_bytes(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  bool same = a.size() == b.size() && a.size() > 1;
  for (std::size_t i = 0; same && i < a.size(); ++i) {
    const torch::Tensor x = a[i].contiguous(), y = b[i].contiguous();
    same = x.nbytes() == y.nbytes() && x.nbytes() > 0 &&
           std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
  }
  return same;
}

// Prints the result. main() returns the exit status at its end.
inline int exit_status(bool right) {
  std::cout << (right ? "as plain LibTorch\n" : "NOT as plain LibTorch\n");
  return right ? 0 : 1;
}

inline int compare(torch::nn::Module& module, const std::function<torch::Tensor()>& checkpointed,
                   const std::function<torch::Tensor()>& plain) {
  return exit_status(
      same_bytes(output_and_gradients(module, plain), output_and_gradients(module, checkpointed)));
}
