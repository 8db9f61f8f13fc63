// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/backward_thread.h: keeps a backward in the thread that calls it.
#pragma once

#include <c10/core/AutogradState.h>

namespace neap::intercept {

// LibTorch runs the backward of some devices in threads of its own, where no handler sees its
// operators. While this lives, a backward() of this thread runs here. REQUIRES: made and destroyed
// in one thread.
class BackwardInThisThread {
 public:
  BackwardInThisThread() : before_(state().get_multithreading_enabled()) {
    state().set_multithreading_enabled(false);
  }
  BackwardInThisThread(const BackwardInThisThread&) = delete;
  BackwardInThisThread& operator=(const BackwardInThisThread&) = delete;
  ~BackwardInThisThread() { state().set_multithreading_enabled(before_); }

 private:
  static c10::AutogradState& state() { return c10::AutogradState::get_tls_state(); }
  bool before_;
};

}  // namespace neap::intercept
