// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/deadline.h: when a search has to end.
#pragma once

#include <chrono>
#include <stop_token>

namespace neap::planner {

struct Deadline {
  std::chrono::steady_clock::time_point at = std::chrono::steady_clock::time_point::max();
  std::stop_token stop = {};

  [[nodiscard]] bool has_passed() const {
    return stop.stop_requested() || (at != std::chrono::steady_clock::time_point::max() &&
                                     std::chrono::steady_clock::now() >= at);
  }
};

}  // namespace neap::planner
