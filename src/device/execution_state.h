// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/execution_state.h: the global and thread state on which the bits of a kernel depend,
// besides its arguments.
//
// A recipe stores the number of such a state. States are interned, because a run has few of them.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

namespace neap::device {

struct ExecutionState {
  int threads = 1;
  unsigned denormals = 0;  // the FTZ and DAZ bits of the processor's control word, if it has one
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
  // Puts this state in force. Changes only what differs from `from`, the state in force now.
  void apply(const ExecutionState& from) const;
};

// Numbers the states that occur, from 0.
class ExecutionStates {
 public:
  // The number of this thread's state. `products`: false for an operator whose bits do not depend
  // on the precision of float32 products. Reading that precision takes four times as long as all
  // the rest, so it is then copied from the last state. Hot: once per recorded operator.
  std::uint16_t current(bool products);
  const ExecutionState& operator[](std::uint16_t number) const { return states_[number]; }
  void clear() { states_.clear(); }

 private:
  std::uint16_t intern(const ExecutionState& state);

  std::vector<ExecutionState> states_;
  std::size_t last_ = 0;
};

// Puts states in force, one after the other, and restores the original one when it is destroyed.
// REQUIRES: nothing else changes them meanwhile.
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
  // Autocast's settings, saved even when autocast is off: the program may switch it on later and
  // expects its settings.
  c10::ScalarType autocast_dtype_;
  bool autocast_cache_;
};

}  // namespace neap::device
