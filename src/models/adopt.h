// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// models/adopt.h: how a wrapper takes over the modules of a model.
#pragma once

#include <torch/nn/module.h>

namespace neap::models {

// Registers the children of `model` in `wrapper` under their own names, so that training, saving
// and loading see the same parameters.
inline void adopt(torch::nn::Module& wrapper, const torch::nn::Module& model) {
  for (const auto& child : model.named_children()) {
    wrapper.register_module(child.key(), child.value());
  }
}

}  // namespace neap::models
