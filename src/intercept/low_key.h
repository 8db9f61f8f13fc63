// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/low_key.h: lets a fallback on a key below the factories see what one above them sees.
//
// A fallback on CustomRNGKeyId alone misses three kinds of operators. LibTorch's BackendSelect
// kernels of factories go on to the device's key and drop all others. Operators that have one
// kernel for all devices have it on this key too, in front of a fallback. The keys of sparse,
// nested and oneDNN tensors are above it.
#pragma once

#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

namespace neap::intercept {

// Registers a kernel on the key for operators with one kernel for all devices; on the keys of other
// layouts in front of LibTorch's kernels; and kernels on BackendSelect that keep the key for
// factories. Never destroyed. Threads: any.
class LowKey {
 public:
  static constexpr c10::DispatchKey kKey = c10::DispatchKey::CustomRNGKeyId;

  // `kernel` must redispatch without the key in the operator's key set.
  explicit LowKey(c10::KernelFunction kernel);
  LowKey(const LowKey&) = delete;
  LowKey& operator=(const LowKey&) = delete;

  // For operators that were defined since the last call, as by an extension; it must have
  // registered its kernels, too. Of an operator that gets a kernel for all devices later, neap sees
  // the operators that this kernel calls. Returns when no call that has begun before is under way.
  void stand_on_new_operators();

 private:
  class Listener;
  void stand_on(const c10::OperatorHandle& op);

  c10::KernelFunction kernel_;
  Listener* listener_;  // the dispatcher owns it
  std::optional<c10::RegistrationHandleRAII> listening_;
  std::mutex mutex_;
  std::unordered_map<c10::OperatorName, std::vector<c10::RegistrationHandleRAII>> kernels_;
};

}  // namespace neap::intercept
