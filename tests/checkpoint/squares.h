// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/checkpoint/squares.h: tensors of one size, so that the tests can count bytes in tensors.
#pragma once

#include "memory/allocator.h"

#include <neap/neap.h>

#include <torch/torch.h>

#include <vector>

namespace neap::squares {

inline constexpr std::int64_t kSide = 64;  // 16 KiB a tensor

inline at::Tensor square(std::uint64_t seed) {
  torch::manual_seed(seed);
  return torch::randn({kSide, kSide});
}
inline std::int64_t live() { return memory::usage().live; }
inline const std::int64_t kTensor = memory::footprint(kSide * kSide * 4);

// Linear layers with names.
struct Net : torch::nn::Module {
  Net() {
    torch::manual_seed(2);
    for (int i = 0; i < 3; ++i) {
      layers.push_back(
          register_module("layer" + std::to_string(i), torch::nn::Linear(kSide, kSide)));
    }
  }
  at::Tensor forward(at::Tensor x) {
    for (auto& layer : layers) x = layer->forward(x).tanh();
    return x + 1;
  }
  std::vector<torch::nn::Linear> layers;
};

}  // namespace neap::squares
