// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/operator_time.h: the clock of one operator: see TimeSample.
#pragma once

#include "engine/call.h"
#include "engine/counts.h"

#include <algorithm>
#include <cstdint>

namespace neap::engine {

class OperatorTime {
 public:
  // `observed`: time the kernel whatever the sample says, because an observer is told.
  OperatorTime(Counts& counts, bool observed)
      : counts_(counts),
        observed_(observed),
        each_(counts.sample.times_each()),
        looks_(each_ || counts.sample.draw()),
        entered_(looks_ ? counts.uncounted_ns() : 0) {}
  OperatorTime(const OperatorTime&) = delete;
  OperatorTime& operator=(const OperatorTime&) = delete;

  void kernel_begins(const Call& call) {
    known_ = counts_.costs.of(call.signature);
    is_short_ = known_.settled() && known_.ns < TimeSample::kShortNs && !observed_;
    counts_.sample.next(is_short_);
    if (looks_ || !is_short_) prepared_ = counts_.uncounted_ns();
  }
  // Also sets the call's time and cost.
  void kernel_ended(Call& call) {
    if (looks_ || !is_short_) ran_ = counts_.uncounted_ns();
    call.ns = std::max<std::int64_t>(0, ran_ - prepared_);
    counts_.stats.operator_ns += (is_short_ && !each_) ? TimeSample::stands_for(call.ns) : call.ns;
    call.cost_ns = known_.settled()
                       ? known_.ns
                       : counts_.costs.learn(call.signature, static_cast<float>(call.ns));
  }
  void operator_ended() {
    if (!looks_) return;
    const std::int64_t own =
        std::max<std::int64_t>(0, (prepared_ - entered_) + (counts_.uncounted_ns() - ran_));
    counts_.stats.bookkeeping_ns += each_ ? own : TimeSample::stands_for(own);
  }

 private:
  Counts& counts_;
  bool observed_;
  bool each_;   // the operator counts as one, else as many
  bool looks_;  // its bookkeeping is timed
  bool is_short_ = false;
  OperatorCosts::Cost known_;
  std::int64_t entered_, prepared_ = 0, ran_ = 0;
};

}  // namespace neap::engine
