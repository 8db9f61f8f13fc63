// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/generator_state.h: the saved state of a random number generator. It is kept outside of
// LibTorch's memory: Generator::get_state() would allocate a tensor, of 5,056 bytes on the CPU,
// which counts against the budget.
#pragma once

#include <ATen/core/Generator.h>

#include <memory>
#include <utility>

namespace neap::device {

// Made by Device::save(). Immutable.
class GeneratorState {
 public:
  explicit GeneratorState(at::Generator generator) : generator_(std::move(generator)) {}
  GeneratorState(const GeneratorState&) = delete;
  GeneratorState& operator=(const GeneratorState&) = delete;
  virtual ~GeneratorState() = default;

  // The generator that it was saved from.
  [[nodiscard]] const at::Generator& generator() const { return generator_; }
  // True when the generator is still in this state.
  [[nodiscard]] virtual bool is_current() const = 0;
  virtual void restore() const = 0;

 private:
  at::Generator generator_;
};

// Sets its generator to `state` while it lives, then restores the previous state.
class GeneratorStateGuard {
 public:
  explicit GeneratorStateGuard(const GeneratorState* state);
  GeneratorStateGuard(const GeneratorStateGuard&) = delete;
  GeneratorStateGuard& operator=(const GeneratorStateGuard&) = delete;
  ~GeneratorStateGuard();

 private:
  std::shared_ptr<const GeneratorState> before_;
};

}  // namespace neap::device
