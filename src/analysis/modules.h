// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace neap::analysis {

// The type without namespace and suffix: "Linear" for torch::nn::LinearImpl.
std::string kind_of(const torch::nn::Module& module);

// Each module with its name. The model comes first, without a name. LibTorch's named_modules()
// requires the model to be in a shared pointer, which a model on the stack is not.
std::vector<std::pair<std::string, const torch::nn::Module*>> modules_of(
    const torch::nn::Module& model);

// Restores a model when it is destroyed: the gradients themselves, and parameters and buffers from
// copies. The copies are outside of LibTorch's memory, so that they are not part of a peak.
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
