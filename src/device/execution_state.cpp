// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/execution_state.h"

#include "device/device.h"

#include <neap/base.h>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace neap::device {
namespace {

unsigned denormal_control() noexcept {
#if defined(__SSE2__)
  constexpr unsigned kFlushAndZero = 0x8040;  // FTZ and DAZ; the rest of the word is sticky flags
  return _mm_getcsr() & kFlushAndZero;
#else
  return 0;
#endif
}

void set_denormal_control(unsigned bits) noexcept {
#if defined(__SSE2__)
  _mm_setcsr((_mm_getcsr() & ~0x8040U) | bits);
#else
  static_cast<void>(bits);
#endif
}

// Compares with the settings in force, because a state without autocast does not contain them.
void put_autocast_details(c10::ScalarType dtype, bool cache) {
  if (at::autocast::get_autocast_dtype(tracked().where().type()) != dtype) {
    at::autocast::set_autocast_dtype(tracked().where().type(), dtype);
  }
  if (at::autocast::is_autocast_cache_enabled() != cache) {
    at::autocast::set_autocast_cache_enabled(cache);
  }
}

constexpr at::Float32Op kPrecisionOps[] = {at::Float32Op::ALL, at::Float32Op::CONV,
                                           at::Float32Op::RNN, at::Float32Op::MATMUL};

void read_precision(ExecutionState& state) {
  const at::Context& context = at::globalContext();
  for (std::size_t i = 0; i < std::size(kPrecisionOps); ++i) {
    state.onednn_precision[i] =
        static_cast<int>(context.float32Precision(at::Float32Backend::MKLDNN, kPrecisionOps[i]));
  }
}

// The state without the precision.
ExecutionState read_others() {
  const at::Context& context = at::globalContext();
  ExecutionState state;
  state.threads = at::get_num_threads();
  state.denormals = denormal_control();
  state.autocast = at::autocast::is_autocast_enabled(tracked().where().type());
  if (state.autocast) {  // when it is off, its settings have no effect
    state.autocast_dtype = at::autocast::get_autocast_dtype(tracked().where().type());
    state.autocast_cache = at::autocast::is_autocast_cache_enabled();
  }
  state.default_dtype = c10::get_default_dtype_as_scalartype();
  state.grad_mode = c10::GradMode::is_enabled();
  state.onednn = context.userEnabledMkldnn();
  state.onednn_deterministic = context.deterministicMkldnn();
  state.deterministic = context.deterministicAlgorithms();
  state.deterministic_warn_only = context.deterministicAlgorithmsWarnOnly();
  state.fill_uninitialized = context.deterministicFillUninitializedMemory();
  return state;
}

}  // namespace

ExecutionState ExecutionState::current() {
  ExecutionState state = read_others();
  read_precision(state);
  return state;
}

void ExecutionState::apply(const ExecutionState& from) const {
  if (*this == from) return;
  at::Context& context = at::globalContext();
  if (threads != from.threads) at::set_num_threads(threads);
  if (denormals != from.denormals) set_denormal_control(denormals);
  if (autocast != from.autocast)
    at::autocast::set_autocast_enabled(tracked().where().type(), autocast);
  if (autocast) put_autocast_details(autocast_dtype, autocast_cache);
  if (default_dtype != from.default_dtype) {
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(default_dtype));
  }
  if (grad_mode != from.grad_mode) c10::GradMode::set_enabled(grad_mode);
  if (onednn != from.onednn) context.setUserEnabledMkldnn(onednn);
  if (onednn_deterministic != from.onednn_deterministic) {
    context.setDeterministicMkldnn(onednn_deterministic);
  }
  if (deterministic != from.deterministic ||
      deterministic_warn_only != from.deterministic_warn_only) {
    context.setDeterministicAlgorithms(deterministic, deterministic_warn_only);
  }
  if (fill_uninitialized != from.fill_uninitialized) {
    context.setDeterministicFillUninitializedMemory(fill_uninitialized);
  }
  for (std::size_t i = 0; i < std::size(kPrecisionOps); ++i) {
    if (onednn_precision[i] != from.onednn_precision[i]) {
      context.setFloat32Precision(at::Float32Backend::MKLDNN, kPrecisionOps[i],
                                  static_cast<at::Float32Precision>(onednn_precision[i]));
    }
  }
}

ExecutionStateGuard::ExecutionStateGuard()
    : before_(ExecutionState::current()),
      now_(before_),
      autocast_dtype_(at::autocast::get_autocast_dtype(tracked().where().type())),
      autocast_cache_(at::autocast::is_autocast_cache_enabled()) {}

ExecutionStateGuard::~ExecutionStateGuard() {
  before_.apply(now_);
  put_autocast_details(autocast_dtype_, autocast_cache_);
}

std::uint16_t ExecutionStates::current(bool products) {
  ExecutionState state = read_others();
  if (products || last_ >= states_.size()) {
    read_precision(state);
  } else {
    std::ranges::copy(states_[last_].onednn_precision, state.onednn_precision);
  }
  return intern(state);
}

std::uint16_t ExecutionStates::intern(const ExecutionState& state) {
  if (last_ < states_.size() && states_[last_] == state) return static_cast<std::uint16_t>(last_);
  for (last_ = 0; last_ < states_.size(); ++last_) {
    if (states_[last_] == state) return static_cast<std::uint16_t>(last_);
  }
  if (states_.size() > UINT16_MAX) {
    throw Error(
        "more than 65536 different states of threads, precision and autocast in one scope; "
        "end the scope from time to time");
  }
  states_.push_back(state);
  return static_cast<std::uint16_t>(last_);
}

}  // namespace neap::device
