// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/tick_clock.h: the processor's own clock, which takes half as long to read
// as the system's.
#pragma once

#include <c10/util/ApproximateClock.h>

#include <cstdint>
#include <limits>

namespace neap::device {

class TickClock {
 public:
  // Cost: 0.2 ms, to measure the length of a tick.
  TickClock() : origin_(ticks()) {
    constexpr std::int64_t kLearningNs = 200'000;
    const Both first = both();
    while (c10::getTime(true) - first.ns < kLearningNs) {
    }
    const Both last = both();
    ns_a_tick_ =
        static_cast<double>(last.ns - first.ns) / static_cast<double>(last.ticks - first.ticks);
  }

  // ns since the clock was made. The clocks of cores may differ a little, so a difference of two
  // values can be negative.
  [[nodiscard]] std::int64_t now_ns() const {
    return static_cast<std::int64_t>(static_cast<double>(ticks() - origin_) * ns_a_tick_);
  }

 private:
  struct Both {
    std::int64_t ns = 0;
    std::int64_t ticks = 0;
  };
  static std::int64_t ticks() { return static_cast<std::int64_t>(c10::getApproximateTime()); }
  // Reads both clocks at nearly the same moment: the best of a few tries.
  static Both both() {
    constexpr int kTries = 5;
    Both best;
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (int i = 0; i < kTries; ++i) {
      const std::int64_t before = ticks();
      const std::int64_t ns = c10::getTime(true);
      const std::int64_t gap = ticks() - before;
      if (gap >= least) continue;
      least = gap;
      best = {ns, before + gap / 2};
    }
    return best;
  }

  std::int64_t origin_;
  double ns_a_tick_ = 1;
};

}  // namespace neap::device
