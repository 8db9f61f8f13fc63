// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/adaptive/adaptive_steps.h: a net of equal layers, and a fixture that runs training steps of
// it with AdaptiveCheckpointing.
#pragma once

#include "engine/engine.h"
#include "memory/allocator.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace neap::test {

inline constexpr std::int64_t kWidth = 64;
inline constexpr int kLayers = 8;

// Each layer saves several tensors for the backward, so its forward ends with all of them live.
struct Net : torch::nn::Module {
  Net() {
    torch::manual_seed(3);
    for (int i = 0; i < kLayers; ++i) {
      auto linear = register_module("layer" + std::to_string(i), torch::nn::Linear(kWidth, kWidth));
      layers.emplace_back([linear](const at::Tensor& x) mutable {
        return torch::dropout(linear->forward(x).tanh().exp().sin(), 0.1, true) + x;
      });
    }
  }
  std::vector<std::function<at::Tensor(const at::Tensor&)>> layers;
};

inline at::Tensor input(std::int64_t rows) {
  torch::manual_seed(4);
  return torch::randn({rows, kWidth});
}

inline at::Tensor plain_forward(Net& net, at::Tensor x) {
  for (auto& layer : net.layers) x = layer(x);
  return x;
}

// The live bytes that a plain forward adds.
inline std::int64_t plain_growth(Net& net, std::int64_t rows) {
  const at::Tensor x = input(rows);
  const std::int64_t before = memory::usage().live;
  const at::Tensor y = plain_forward(net, x);
  return memory::usage().live - before;
}

// The number of layers that the last forward checkpointed.
inline std::int64_t checkpointed(const AdaptiveCheckpointing& adaptive) {
  return std::ranges::count(adaptive.decisions(), true, &AdaptiveDecision::checkpointed);
}

class Adaptive : public testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0); }

  // Runs a forward and its backward. Returns the live bytes that the forward added.
  std::int64_t step(AdaptiveCheckpointing& adaptive, std::int64_t rows) {
    const at::Tensor x = input(rows);
    const std::int64_t before = memory::usage().live;
    const at::Tensor y = adaptive.forward_with_adaptive_checkpoint(net_, x);
    const std::int64_t after = memory::usage().live;
    y.sum().backward();
    net_.zero_grad();
    return after - before;
  }

  Net net_;
};

}  // namespace neap::test
