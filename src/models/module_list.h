// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// How to call a module of which only the base class is known.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <functional>
#include <memory>

namespace neap::models {

// Calls the forward() of `module`, which is a Sequential or another of LibTorch's modules that take and return one tensor.
// Empty for any other type.
std::function<at::Tensor(const at::Tensor&)> call_by_type(
    const std::shared_ptr<torch::nn::Module>& module);

}  // namespace neap::models
