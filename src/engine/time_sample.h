// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/time_sample.h: which operators have their time taken, and how much of it is counted.
//
// To read the clock four times an operator was an eighth of all bookkeeping. So what is short is timed once in `kOneIn` times, and
// counted as often. Which ones is drawn: models repeat, and each n-th operator of one can be the same.
#pragma once

#include <algorithm>
#include <cstdint>

namespace neap::engine {

class TimeSample {
 public:
  static constexpr std::int64_t kOneIn = 16;
  // From here on all are timed: reading the clock twice is less than a thousandth of them.
  static constexpr std::int64_t kShortNs = 20'000;
  // What takes longer, although it is short as a rule, was interrupted.
  static constexpr std::int64_t kInterruptedNs = 10 * kShortNs;

  // The next one is timed.
  bool draw() noexcept {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return state_ >> 60 == 0;
  }

  // What is counted for one that was drawn and took `ns`. An interruption happened once: the others did not take longer than
  // kInterruptedNs.
  static std::int64_t stands_for(std::int64_t ns) noexcept {
    return ns + (kOneIn - 1) * std::min(ns, kInterruptedNs);
  }

 private:
  std::uint64_t state_ = 0;
};

}  // namespace neap::engine
