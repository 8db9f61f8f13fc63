// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/time_sample.h: chooses which operators are timed, and how much time is counted for each.
//
// Reading the clock four times per operator took an eighth of all bookkeeping time. So only one in
// `kOneIn` of the short operators is timed, and it counts as `kOneIn` of them. They are drawn at
// random, because models repeat: each n-th operator of a model can be the same. An operator after
// one that is not short is always timed. Beside the long operator before it, reading the clock
// takes no time. And in a step of few operators, few would be drawn.
#pragma once

#include <algorithm>
#include <cstdint>

namespace neap::engine {

class TimeSample {
 public:
  static constexpr std::int64_t kOneIn = 16;
  // Operators of at least this time are always timed: reading the clock twice takes less than a
  // thousandth of it.
  static constexpr std::int64_t kShortNs = 20'000;
  // A short operator that takes longer than this was interrupted.
  static constexpr std::int64_t kInterruptedNs = 10 * kShortNs;

  // The operator before was not short, so this one is timed and counts as one.
  [[nodiscard]] bool times_each() const noexcept { return times_each_; }
  void next(bool is_short) noexcept { times_each_ = !is_short; }

  // Returns true when this operator is to be timed.
  bool draw() noexcept {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return state_ >> 60 == 0;
  }

  // What is counted for an operator that was drawn and took `ns`. An interruption happened once, so
  // the operators that were not drawn are counted with kInterruptedNs at most.
  static std::int64_t stands_for(std::int64_t ns) noexcept {
    return ns + (kOneIn - 1) * std::min(ns, kInterruptedNs);
  }

 private:
  std::uint64_t state_ = 0;
  bool times_each_ = true;
};

}  // namespace neap::engine
