// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/trial.h: tries sets of reruns one after the other, and keeps the cheapest that fits.
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

  // Replaces the schedule by these reruns, as far as they are allowed. True when it fits.
  bool take(const std::vector<GroupRerun>& reruns) {
    for (const GroupRerun one : schedule_.reruns()) schedule_.remove(one);
    for (const GroupRerun one : reruns) {
      if (schedule_.has(one)) continue;
      for (const GroupRerun each : schedule_.closure(one)) schedule_.add(each);
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
  [[nodiscard]] std::optional<std::vector<GroupRerun>> best() && { return std::move(best_); }

 private:
  Schedule schedule_;
  std::int64_t budget_;
  std::optional<std::vector<GroupRerun>> best_;
  std::int64_t best_cost_ = 0;
};

}  // namespace neap::planner
