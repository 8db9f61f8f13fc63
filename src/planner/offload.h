// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/offload.h: starts of local search that copy storages to the tier.
#pragma once

#include "planner/portfolio.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace neap::planner {

// Goes through the step once. Where it passes the budget, what is idle longest goes until its next
// use: Belady's rule. Reruns of the schedule stay, but for those of stages that do not fit with
// them. False: something does not fit, or the tier would pass its limit; part of the change is done
// then.
// Cost: n log n for all events of storages.
bool offload_idle(Schedule& schedule, std::int64_t budget, std::int64_t limit);

struct BothWays {
  enum class Way : std::uint8_t { Idle, IdleAfterReruns, Peaks };
  std::string name;
  Way way;
  std::int64_t rerun_percent;  // of the way from the plain peak to the target: by reruns
  // The peak that the search keeps to: less than the budget, so that loads can begin ahead of their
  // uses, and frees can wait for their copies.
  std::int64_t target;
  double price;  // Schedule::set_copy_price()
  std::vector<GroupRerun> reruns = {};
  std::vector<Load> loads = {};
  std::int64_t ns = 0;  // of reruns and waits
  bool found = false;
};

// The starts, with what they are to keep to. find() makes one of them. `floor`: no plan stays
// below.
std::vector<BothWays> both_ways(const Problem& problem, std::int64_t plain_peak,
                                std::int64_t floor);
void find(BothWays& start, const Problem& problem, std::int64_t limit);

}  // namespace neap::planner
