// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/execution_state.h: what outside of its arguments decides which bits a kernel gives.
//
// A recipe holds the number of such a state; few differ in a run, so they are interned.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

namespace neap::intercept {

struct ExecutionState {
  int threads = 1;
  unsigned denormals = 0;  // the processor's control word, where it has one
  int onednn_precision[4] = {};
  c10::ScalarType autocast_dtype = c10::ScalarType::Undefined;
  c10::ScalarType default_dtype = c10::ScalarType::Float;
  bool autocast = false;
  bool autocast_cache = false;
  bool grad_mode = false;
  bool onednn = true;
  bool onednn_deterministic = false;
  bool deterministic = false;
  bool deterministic_warn_only = false;
  bool fill_uninitialized = false;

  friend bool operator==(const ExecutionState&, const ExecutionState&) = default;

  // The state of this thread now.
  static ExecutionState current();
  // Makes it so, changing what differs from `from` only.
  void apply(const ExecutionState& from) const;
};

// Numbers for states; number 0 exists from the start.
class ExecutionStates {
 public:
  // The state of this thread now. `products`: false for an operator whose bits do not hang on the precision of float32 products. To
  // read that takes four times as long as all the rest, so then the one of the last state is taken. Hot: once per recorded operator.
  std::uint16_t current(bool products);
  const ExecutionState& operator[](std::uint16_t number) const { return states_[number]; }
  void clear() { states_.clear(); }

 private:
  std::uint16_t intern(const ExecutionState& state);

  std::vector<ExecutionState> states_;
  std::size_t last_ = 0;
};

// Puts states in force, one after the other, and back what was there when it dies. In between nobody else changes them.
class ExecutionStateGuard {
 public:
  ExecutionStateGuard();
  ExecutionStateGuard(const ExecutionStateGuard&) = delete;
  ExecutionStateGuard& operator=(const ExecutionStateGuard&) = delete;
  ~ExecutionStateGuard();
  void become(const ExecutionState& state) {
    state.apply(now_);
    now_ = state;
  }

 private:
  ExecutionState before_;
  ExecutionState now_;
  // Of autocast, also where it is off: a program that switches it on later finds what it had set.
  c10::ScalarType autocast_dtype_;
  bool autocast_cache_;
};

}  // namespace neap::intercept
