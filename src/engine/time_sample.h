// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/time_sample.h: which operators have their time taken, and how much of it is counted.
//
// The clock is read four times an operator, which is a tenth of all bookkeeping. So what is short is timed once in `kOneIn`
// times, and counted as often. Which ones is drawn: models repeat, and each n-th operator of one can be the same.
#pragma once

#include <algorithm>
#include <cstdint>

namespace neap::engine {

class TimeSample {
 public:
  static constexpr std::int64_t kOneIn = 16;
  // Up to here an operator is short: reading the clock is more than a thousandth of what is longer than this.
  static constexpr std::int64_t kShortNs = 20'000;

  // The next one is timed.
  bool draw() noexcept {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return state_ >> 60 == 0;
  }

  // What is counted for one that was drawn and took `ns`. What interrupts it happened once: beyond kShortNs nothing is counted for
  // the others.
  static std::int64_t stands_for(std::int64_t ns) noexcept {
    return ns + (kOneIn - 1) * std::min(ns, kShortNs);
  }

 private:
  std::uint64_t state_ = 0;
};

}  // namespace neap::engine
