// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/support/small_models.h: models whose step is small enough to run a thousand times. Each has
// another kind of operator.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <string>
#include <vector>

namespace neap::test {

struct SmallModel {
  std::string name;
  std::function<std::vector<at::Tensor>()> parameters;  // draws from LibTorch's generator
  std::function<at::Tensor(const std::vector<at::Tensor>&)> loss;
};

const std::vector<SmallModel>& small_models();

// The parameters of a model as a module, for an optimizer and a snapshot.
struct SmallModule : torch::nn::Module {
  explicit SmallModule(const std::vector<at::Tensor>& parameters) {
    for (const at::Tensor& one : parameters) {
      all.push_back(register_parameter("p" + std::to_string(all.size()), one));
    }
  }
  std::vector<at::Tensor> all;
};

}  // namespace neap::test
