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
