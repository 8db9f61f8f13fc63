// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// intercept/generator_state.h: the state of a CPU generator, kept in memory of our own: Generator::get_state() allocates
// a tensor of 5,056 bytes, which would count against the budget.
#pragma once

#include <ATen/CPUGeneratorImpl.h>

#include <memory>
#include <optional>

namespace neap::intercept {

struct GeneratorState {
  at::Generator generator;  // whose
  at::mt19937 engine;
  std::optional<float> next_float;
  std::optional<double> next_double;

  // REQUIRES: is_supported(generator). Locks the generator's mutex.
  static std::shared_ptr<const GeneratorState> save(const at::Generator& generator);
  static bool is_supported(const at::Generator& generator);
  // True when the generator still stands where this was saved.
  [[nodiscard]] bool is_current() const;
  void restore() const;
};

// Puts `state` into its generator while it lives, then what was there before.
class GeneratorStateGuard {
 public:
  explicit GeneratorStateGuard(const GeneratorState* state);
  GeneratorStateGuard(const GeneratorStateGuard&) = delete;
  GeneratorStateGuard& operator=(const GeneratorStateGuard&) = delete;
  ~GeneratorStateGuard();

 private:
  std::shared_ptr<const GeneratorState> before_;
};

}  // namespace neap::intercept
