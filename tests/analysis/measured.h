// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What the tests of measurements share: small models.
#pragma once

#include "support/message_of.h"

#include <neap/analysis.h>

#include <torch/torch.h>

#include <cstdint>
#include <string>

namespace neap::test {

// Linear layers with ReLU and dropout; with use_checkpoint, in segments.
struct SmallModelImpl : torch::nn::Module {
  explicit SmallModelImpl(bool use_checkpoint, std::int64_t layer_count = 6, double dropout = 0.2)
      : checkpointed(use_checkpoint) {
    for (std::int64_t i = 0; i < layer_count; ++i) {
      layers->push_back(torch::nn::Linear(64, 64));
      layers->push_back(torch::nn::ReLU());
      layers->push_back(torch::nn::Dropout(dropout));
    }
    register_module("layers", layers);
  }
  at::Tensor forward(const at::Tensor& x) {
    return checkpointed ? checkpoint_sequential(layers, 3, x) : layers->forward(x);
  }
  bool checkpointed;
  torch::nn::Sequential layers;
};
TORCH_MODULE(SmallModel);

inline train::Model small_model(bool use_checkpoint) { return SmallModel(use_checkpoint); }

}  // namespace neap::test
