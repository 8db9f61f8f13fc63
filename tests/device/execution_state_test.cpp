// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Each part of the state alone: read, put in force, and put back.
// tests/regression/execution_state_test.cpp tests what the state does to the bits of replays.
#include "device/execution_state.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace neap::device {
namespace {

at::Context& context() { return at::globalContext(); }

// A change of one part of the state, and how to see it without ExecutionState.
struct Part {
  const char* name;
  std::function<void(ExecutionState&)> change;
  std::function<bool()> is_in_force;
};

const std::vector<Part>& parts() {
  static const std::vector<Part> all {
    {"threads", [](ExecutionState& s) { s.threads = 2; },
     [] { return at::get_num_threads() == 2; }},
        {"grad mode", [](ExecutionState& s) { s.grad_mode = !s.grad_mode; },
         [] { return !c10::GradMode::is_enabled(); }},
        {"autocast",
         [](ExecutionState& s) {
           s.autocast = true;
           s.autocast_dtype = at::kHalf;
           s.autocast_cache = false;
         },
         [] {
           return at::autocast::is_autocast_enabled(at::kCPU) &&
                  at::autocast::get_autocast_dtype(at::kCPU) == at::kHalf &&
                  !at::autocast::is_autocast_cache_enabled();
         }},
        {"oneDNN", [](ExecutionState& s) { s.onednn = !s.onednn; },
         [] { return !context().userEnabledMkldnn(); }},
        {"oneDNN's determinism", [](ExecutionState& s) { s.onednn_deterministic = true; },
         [] { return context().deterministicMkldnn(); }},
        {"determinism",
         [](ExecutionState& s) {
           s.deterministic = true;
           s.deterministic_warn_only = true;
         },
         [] {
           return context().deterministicAlgorithms() &&
                  context().deterministicAlgorithmsWarnOnly();
         }},
        {"filling", [](ExecutionState& s) { s.fill_uninitialized = !s.fill_uninitialized; },
         [] { return !context().deterministicFillUninitializedMemory(); }},
        {"the precision of products",
         [](ExecutionState& s) {
           s.onednn_precision[3] = static_cast<int>(at::Float32Precision::BF16);
         },
         [] {
           return context().float32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL) ==
                  at::Float32Precision::BF16;
         }},
#if defined(__SSE2__)
        {"denormals", [](ExecutionState& s) { s.denormals = 0x8040; },
         [] {
           volatile float tiny = 1e-40F;
           return tiny * 1.0F == 0.0F;
         }},
#endif
  };
  return all;
}

TEST(ExecutionStatePart, is_in_force_while_the_guard_lives_and_gone_behind_it) {
  const ExecutionState before = ExecutionState::current();
  for (const Part& part : parts()) {
    SCOPED_TRACE(part.name);
    EXPECT_FALSE(part.is_in_force());
    {
      ExecutionStateGuard guard;
      ExecutionState state = before;
      part.change(state);
      EXPECT_FALSE(state == before);
      guard.become(state);
      EXPECT_TRUE(part.is_in_force());
      EXPECT_TRUE(ExecutionState::current() == state);
    }
    EXPECT_FALSE(part.is_in_force());
    EXPECT_TRUE(ExecutionState::current() == before);
  }
}

// Autocast's type and cache are read where it is on. They must be restored even where it had been
// off before.
TEST(ExecutionStatePart, type_and_cache_of_autocast_come_back_although_it_is_off) {
  ASSERT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
  const auto dtype = at::autocast::get_autocast_dtype(at::kCPU);
  ASSERT_NE(dtype, at::kHalf);
  ASSERT_TRUE(at::autocast::is_autocast_cache_enabled());
  {
    ExecutionStateGuard guard;
    ExecutionState state = ExecutionState::current();
    state.autocast = true;
    state.autocast_dtype = at::kHalf;
    state.autocast_cache = false;
    guard.become(state);
  }
  EXPECT_EQ(at::autocast::get_autocast_dtype(at::kCPU), dtype);
  EXPECT_TRUE(at::autocast::is_autocast_cache_enabled());
}

TEST(ExecutionStatePart, each_follows_the_one_before_under_one_guard) {
  const ExecutionState before = ExecutionState::current();
  {
    ExecutionStateGuard guard;
    for (const Part& part : parts()) {
      SCOPED_TRACE(part.name);
      ExecutionState state = before;
      part.change(state);
      guard.become(state);
      EXPECT_TRUE(part.is_in_force());
      EXPECT_TRUE(ExecutionState::current() == state) << "the one before is gone";
    }
  }
  EXPECT_TRUE(ExecutionState::current() == before);
}

TEST(ExecutionStates, equal_states_have_one_number_and_others_another) {
  ExecutionStates states;
  EXPECT_EQ(states.current(true), 0);
  EXPECT_EQ(states.current(true), 0);
  std::vector<std::uint16_t> numbers;
  for (const Part& part : parts()) {
    ExecutionStateGuard guard;
    ExecutionState state = states[0];
    part.change(state);
    guard.become(state);
    numbers.push_back(states.current(true));
    EXPECT_TRUE(states[numbers.back()] == state) << part.name;
  }
  for (std::size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(numbers[i], i + 1);
  EXPECT_EQ(states.current(true), 0) << "the first is known still";
}

// Reading the precision takes longer than all the rest, and only products depend on it.
TEST(ExecutionStates, an_operator_without_products_takes_the_precision_of_the_last) {
  ExecutionStates states;
  ASSERT_EQ(states.current(true), 0);
  ExecutionStateGuard guard;
  ExecutionState other = states[0];
  other.onednn_precision[3] = static_cast<int>(at::Float32Precision::BF16);
  guard.become(other);
  EXPECT_EQ(states.current(false), 0);
  EXPECT_EQ(states.current(true), 1);
  EXPECT_EQ(states.current(false), 1) << "it is the last one now";
}

}  // namespace
}  // namespace neap::device
