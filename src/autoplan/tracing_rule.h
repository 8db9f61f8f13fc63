// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/tracing_rule.h: which steps are traced, and of which a plan is made.
//
// Note [Which steps are traced]
// A program has a few kinds of steps: the first one, which makes the optimizer's state; those that
// only accumulate; batches of another length. The kind of a step is known at its end, and a trace
// is needed from its first operator. Tracing costs some microseconds an operator. So after a step
// of a kind that has no plan yet the next few are traced, also those that follow a plan. As long as
// all kinds are known, no step is traced. A program whose steps never repeat would keep the planner
// at work for ever: when several plans have been made and none was ever followed, a kind is planned
// when it comes a second time.
#pragma once

#include "autoplan/step_id.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace neap::autoplan {

class TracingRule {
 public:
  [[nodiscard]] bool traces() const { return to_trace_ > 0; }
  void met_unplanned_step() { to_trace_ = kTraced; }
  void met_planned_step() {
    if (to_trace_ > 0) --to_trace_;
  }
  void plan_was_made() { ++unused_; }
  void plan_was_followed() { unused_ = 0; }

  // Remembers the step when it is not.
  bool is_worth_a_plan(const StepId& step) {
    if (unused_ < kMostUnused) return true;
    if (std::ranges::find(seen_, step) != seen_.end()) return true;
    if (seen_.size() == kMostSeen) seen_.erase(seen_.begin());
    seen_.push_back(step);
    return false;
  }

 private:
  static constexpr int kTraced = 8;
  static constexpr int kMostUnused = 4;
  static constexpr std::size_t kMostSeen = 64;

  int to_trace_ = kTraced;    // so many steps
  int unused_ = 0;            // plans that were made since one was followed to its end
  std::vector<StepId> seen_;  // steps without a plan, the newest last
};

}  // namespace neap::autoplan
