// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/dispatch.h: where neap hooks into LibTorch's dispatcher.
//
// The hook is a boxed fallback on a dispatch key that LibTorch does not use. It is active in a
// thread only while that thread includes the key. Operators are atomic: what a kernel calls inside
// itself is not intercepted.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <c10/core/DispatchKeySet.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace neap::intercept {

// Receives each operator of a thread that includes the key. Must run it through redispatch() or
// decompose().
class Handler {
 public:
  virtual ~Handler() = default;
  virtual void call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                    torch::jit::Stack* stack) = 0;
};

// Registers the fallback on the first free key. Idempotent, any thread.
// Throws: Error when no key is free.
void ensure_registered();
c10::DispatchKey key();

// Sets the handler of this thread; null: operators pass through.
void set_handler(Handler* handler) noexcept;

// Switches the interception of this thread on or off. REQUIRES: ensure_registered().
void include(bool on) noexcept;

// Runs the operator below neap. What its kernel calls is not intercepted.
void redispatch(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);
// Runs the kernel of a composite operator. What it calls is intercepted.
void decompose(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack);

// While it lives, operators of this thread run below autograd, autocast and neap. For replays.
class BelowAll {
 public:
  BelowAll();

 private:
  c10::impl::ExcludeDispatchKeyGuard guard_;
};

}  // namespace neap::intercept
