// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/parity/parity.h: runs one step of a function, plain or in a region, and measures what it
// kept and recomputed. The tests beside it cover the behaviour that PyTorch's tests of activation
// checkpointing cover, under the same names: docs/parity.md.
#pragma once

#include "engine/engine.h"
#include "memory/allocator.h"
#include "support/bytes.h"
#include "support/message_of.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap::parity {

using test::message_of;

using test::ByteLists;
using test::bytes_of;
using test::first_difference;

// Checks that a test leaves nothing behind.
class Parity : public testing::Test {
 protected:
  void SetUp() override { torch::manual_seed(20); }
  void TearDown() override {
    EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0) << "records are left behind";
    engine::Engine::instance().validate();
  }
};

inline std::int64_t live() { return memory::usage().live; }

// The live bytes and the replays since it was made.
class Since {
 public:
  [[nodiscard]] std::int64_t bytes() const { return live() - live_; }
  [[nodiscard]] std::int64_t replays() const { return replays_now() - replays_; }

 private:
  static std::int64_t replays_now() { return engine::Engine::instance().stats().replays; }
  std::int64_t live_ = live();
  std::int64_t replays_ = replays_now();
};

using Function = std::function<at::Tensor(const at::Tensor&)>;

// `fn` in a region, as a function.
inline Function checkpointed(Function fn) {
  return [fn = std::move(fn)](const at::Tensor& x) { return checkpoint(fn, x); };
}

// Each tensor has 1 KiB. Those of PyTorch's tests often have less than 512 bytes. neap never evicts
// such small ones, so they would test nothing.
constexpr std::int64_t kSide = 16;

inline at::Tensor leaf(at::IntArrayRef sizes = {kSide, kSide}) {
  return torch::randn(sizes, torch::requires_grad());
}

// Runs `step` on leaves without gradients. Returns the gradients that it leaves there, and its
// results.
template <class Step>
ByteLists gradients_after(const std::vector<at::Tensor>& leaves, const Step& step) {
  for (const at::Tensor& one : leaves) one.mutable_grad() = at::Tensor();
  std::vector<at::Tensor> all = step();
  for (const at::Tensor& one : leaves) {
    if (one.grad().defined()) all.push_back(one.grad());
  }
  return bytes_of(all);
}

}  // namespace neap::parity
