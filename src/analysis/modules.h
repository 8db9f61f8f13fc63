// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace neap::analysis {

// torch::nn::LinearImpl is a Linear.
std::string kind_of(const torch::nn::Module& module);

// Each module with its name, the model first, without one. LibTorch's named_modules() wants the model in a shared pointer: one on
// the stack is not.
std::vector<std::pair<std::string, const torch::nn::Module*>> modules_of(
    const torch::nn::Module& model);

// Puts a model back: parameters and buffers from copies of their bytes, which lie outside of LibTorch's memory so that they are no
// part of a peak, and the gradients themselves.
class ModelGuard {
 public:
  explicit ModelGuard(const torch::nn::Module& model);
  ModelGuard(const ModelGuard&) = delete;
  ModelGuard& operator=(const ModelGuard&) = delete;
  ~ModelGuard();

 private:
  void keep(const at::Tensor& tensor);

  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> gradients_;
  std::vector<std::pair<at::Tensor, std::vector<std::byte>>> kept_;
};

}  // namespace neap::analysis
