// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/trial.h: sets of reruns tried one after the other; the cheapest that fits is kept.
#pragma once

#include "planner/schedule.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace neap::planner {

class Trial {
 public:
  Trial(const Replays& replays, std::int64_t budget) : schedule_(replays), budget_(budget) {}

  // Makes the schedule of these reruns, as far as they are allowed. True: it fits.
  bool take(const std::vector<Rerun>& reruns) {
    for (const Rerun one : schedule_.reruns()) schedule_.remove(one);
    for (const Rerun one : reruns) {
      if (schedule_.has(one)) continue;
      for (const Rerun each : schedule_.closure(one)) schedule_.add(each);
    }
    if (schedule_.peak() > budget_) return false;
    if (!best_ || schedule_.cost() < best_cost_) {
      best_ = schedule_.reruns();
      best_cost_ = schedule_.cost();
    }
    return true;
  }

  [[nodiscard]] Schedule& schedule() { return schedule_; }
  [[nodiscard]] bool has_fitted() const { return best_.has_value(); }
  [[nodiscard]] std::optional<std::vector<Rerun>> best() && { return std::move(best_); }

 private:
  Schedule schedule_;
  std::int64_t budget_;
  std::optional<std::vector<Rerun>> best_;
  std::int64_t best_cost_ = 0;
};

}  // namespace neap::planner
