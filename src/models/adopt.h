// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// How a model becomes part of the one that wraps it.
#pragma once

#include <torch/nn/module.h>

namespace neap::models {

// Gives `wrapper` the children of `model` under their own names: what is trained, saved and loaded is the same.
inline void adopt(torch::nn::Module& wrapper, const torch::nn::Module& model) {
  for (const auto& child : model.named_children()) {
    wrapper.register_module(child.key(), child.value());
  }
}

}  // namespace neap::models
