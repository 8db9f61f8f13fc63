// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/checkpoint/kept_results.h: how many results a region keeps, and how many operators its
// backward replays.
#pragma once

#include "checkpoint/squares.h"
#include "engine/engine.h"
#include "support/bytes.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <optional>

namespace neap::kept_results {

struct Outcome {
  std::int64_t kept = 0;  // in tensors, without the result of the region
  std::int64_t replays = 0;
  test::ByteLists bytes;
};

using Function = std::function<at::Tensor(const at::Tensor&)>;

// Runs `fn` in a region with these options, or plainly without options, and then its backward.
inline Outcome run(const CheckpointOptions* options, const Function& fn) {
  const at::Tensor x = squares::square(1).requires_grad_();
  torch::manual_seed(7);
  const std::int64_t before = squares::live();
  Scope scope;
  at::Tensor y = options == nullptr ? fn(x) : custom_checkpoint(*options, fn, x);
  Outcome outcome;
  outcome.kept = (squares::live() - before) / squares::kTensor - 1;
  y.sum().backward();
  scope.end();
  outcome.replays = scope.stats().replays;
  outcome.bytes = test::bytes_of({y, x.grad()});
  return outcome;
}

inline Outcome run(const CheckpointOptions& options, const Function& fn) {
  return run(&options, fn);
}

class Selection : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0) << "records are left behind";
    engine::Engine::instance().validate();
  }
  // Every selection must give the bits of plain LibTorch.
  static void expect_bits(const Outcome& outcome, const Function& fn) {
    EXPECT_EQ(test::first_difference(run(nullptr, fn).bytes, outcome.bytes), std::nullopt);
  }
};

}  // namespace neap::kept_results
