// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/candidates.h: plans during the search of solve().
#pragma once

#include "planner/schedule.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace neap::planner {

// A plan during the search.
struct Candidate {
  std::string name;
  std::optional<std::vector<GroupRerun>> reruns;
  std::int64_t found_ns = 0;  // by the method, before local search
  std::int64_t ns = 0;
  // With a tier.
  std::vector<Load> loads = {};
  std::int64_t room = 0;  // of the budget, for copies
  double price = 0;       // Schedule::set_copy_price()
};

// Reruns and loads that fit without a search: the caller's, and earlier results.
struct Known {
  std::int64_t peak;
  std::int64_t ns;  // inside `budget`; with more room, copies may stand elsewhere
  std::vector<GroupRerun> reruns;
  std::vector<Load> loads;
  std::int64_t budget;
};

}  // namespace neap::planner
