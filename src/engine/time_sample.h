// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/time_sample.h: which operators have their time taken, and how much of it is counted.
//
// To read the clock four times an operator was an eighth of all bookkeeping. So what is short is timed once in `kOneIn` times, and
// counted as often. Which ones is drawn: models repeat, and each n-th operator of one can be the same. What comes after an operator that
// is not short is timed each time: beside that one the clock is nothing, and of the few operators of a step few would be drawn.
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

  // The operator before was not short: this one is timed, and counts as one.
  [[nodiscard]] bool times_each() const noexcept { return times_each_; }
  void next(bool is_short) noexcept { times_each_ = !is_short; }

  // This one is timed.
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
  bool times_each_ = true;
};

}  // namespace neap::engine
