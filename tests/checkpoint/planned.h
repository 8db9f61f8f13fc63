// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/checkpoint/planned.h: steps that follow plans.
#pragma once

#include "checkpoint/squares.h"
#include "engine/engine.h"
#include "support/bytes.h"

#include <neap/neap.h>

#include <gtest/gtest.h>

#include <functional>

namespace neap::test {

using squares::kTensor;
using squares::square;

// Runs a step in a scope of its own. No plan is being made while it runs.
inline Stats run(const std::function<void()>& step, Bytes budget,
                 const PlanMode& policy = Planned{}) {
  Scope scope({.budget = budget, .policy = policy});
  step();
  engine::Engine::instance().validate();
  scope.end();
  Stats stats = scope.stats();
  EXPECT_LE(stats.peak_bytes, budget.count());
  memory::validate();
  finish_planning();
  return stats;
}

// x_n = tanh(x_(n-1)) and its backward, so that every inner result is needed a second time.
struct Chain {
  explicit Chain(int length) : length(length) {}
  void operator()() {
    const at::Tensor input = x.detach().requires_grad_();
    at::Tensor y = input;
    for (int i = 0; i < length; ++i) y = i == deviates_at ? y.sin() : y.tanh();
    y.sum().backward();
    bits = bytes_of({input.grad()});
  }

  int length;
  int deviates_at = -1;
  at::Tensor x = square(1);
  ByteLists bits;  // of the gradient
};

inline Bytes budget_of(int tensors) {
  memory::trim();
  return Bytes(squares::live() + tensors * kTensor + 32768);
}

}  // namespace neap::test
