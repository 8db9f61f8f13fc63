// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/dispatch.h: the one point of LibTorch's dispatcher at which neap stands.
//
// A boxed fallback on a dispatch key that LibTorch leaves free, active in a thread only while that thread includes the
// key. What a kernel calls inside itself is not seen: an operator is atomic.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <c10/core/DispatchKeySet.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace neap::intercept {

// Sees each operator of a thread that includes the key. Must run it through redispatch().
class Handler {
 public:
  virtual ~Handler() = default;
  virtual void call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                    torch::jit::Stack* stack) = 0;
};

// Registers the fallback on the first key that is free. Idempotent, any thread.
// Throws: Error when no key could be taken.
void ensure_registered();
c10::DispatchKey key();

// The handler of this thread; null: operators pass through.
void set_handler(Handler* handler) noexcept;

// Switches the interception of this thread. REQUIRES: ensure_registered().
void include(bool on) noexcept;

// Runs the operator below neap: its kernel and what that calls are not seen.
void redispatch(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);
// Runs the kernel of a composite operator so that what it calls is seen.
void decompose(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);

// While it lives, operators of this thread run below autograd, autocast and neap: for replays.
class BelowAll {
 public:
  BelowAll();

 private:
  c10::impl::ExcludeDispatchKeyGuard guard_;
};

}  // namespace neap::intercept
