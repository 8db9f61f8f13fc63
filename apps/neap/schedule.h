// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The learning rate of each step: --schedule and --warmup. No LibTorch here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace neap::app {

// The rate rises along a line for the first steps, and then
//   cosine    falls along half a cosine to 0,
//   linear    falls along a line to 0,
//   step      falls to a tenth after each third of the steps,
//   constant  stays.
class Schedule {
 public:
  // `kind`: one of these. `warmup`: steps of the rise; nullopt: a twentieth of all.
  Schedule(const std::string& kind, std::optional<std::int64_t> warmup);
  // `peak`: the rate at the end of the rise. `step`: from 0, below `total`.
  [[nodiscard]] double rate(double peak, std::int64_t step, std::int64_t total) const;

 private:
  enum class Kind : std::uint8_t { Cosine, Linear, Step, Constant };
  [[nodiscard]] double fall(double done) const;  // done: the part of the fall, in [0, 1)

  Kind kind_;
  std::optional<std::int64_t> warmup_;
};

}  // namespace neap::app
