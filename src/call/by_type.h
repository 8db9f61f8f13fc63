// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// call/by_type.h: forward() of modules of which only the base class is known.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

namespace neap::call {

using Forward = at::Tensor (*)(torch::nn::Module& module, const at::Tensor& x);

// The forward() of a Sequential, or of one of LibTorch's own modules that take and return one
// tensor. Null for any other module: its forward() is not virtual, so C++ cannot call it without
// its type.
Forward forward_of(const torch::nn::Module& module);

}  // namespace neap::call
