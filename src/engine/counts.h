// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/counts.h: what the engine counts, and its clocks. Only the thread that owns the engine
// uses it, and a thread that evicts for another one: see Note [Phases].
#pragma once

#include "device/tick_clock.h"
#include "engine/operator_costs.h"
#include "engine/time_sample.h"

#include <neap/engine.h>

#include <algorithm>
#include <cstdint>

namespace neap::engine {

struct Counts {
  Stats stats;  // since the process started
  device::TickClock ticks;
  double clock = 0;  // ns of all operators so far, the unit of Block::last_use
  OperatorCosts costs;
  TimeSample sample;

  // Time that is counted neither as replay nor as bookkeeping nor as waiting for a copy. The
  // difference of two calls is the time between them, without what was counted meanwhile.
  [[nodiscard]] std::int64_t uncounted_ns() const {
    return ticks.now_ns() - stats.replay_ns - stats.bookkeeping_ns - stats.offload_wait_ns;
  }
};

// Adds the time for which it lives to one of the counts, without the time that other counts got
// meanwhile.
class Timed {
 public:
  Timed(Counts& counts, std::int64_t Stats::*count) noexcept
      : counts_(counts), count_(count), start_(counts.uncounted_ns()) {}
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;
  ~Timed() { counts_.stats.*count_ += std::max<std::int64_t>(0, counts_.uncounted_ns() - start_); }

 private:
  Counts& counts_;
  std::int64_t Stats::*count_;
  std::int64_t start_;
};

}  // namespace neap::engine
