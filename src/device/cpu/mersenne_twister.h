// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/cpu/mersenne_twister.h: the saved state of LibTorch's CPU generator.
#pragma once

#include "device/generator_state.h"

#include <ATen/CPUGeneratorImpl.h>

#include <optional>

namespace neap::device {

class MersenneTwisterState final : public GeneratorState {
 public:
  static bool is_of(const at::Generator& generator);
  // REQUIRES: is_of(generator). Locks the generator's mutex, as the others do.
  explicit MersenneTwisterState(const at::Generator& generator);
  [[nodiscard]] bool is_current() const override;
  void restore() const override;

 private:
  struct Snapshot {
    at::mt19937 engine;
    std::optional<float> next_float;
    std::optional<double> next_double;
  };
  static Snapshot read(const at::Generator& generator);

  Snapshot saved_;
};

}  // namespace neap::device
