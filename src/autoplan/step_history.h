// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/step_history.h: which step comes next.
#pragma once

#include "autoplan/step_id.h"

#include <cstddef>
#include <deque>
#include <optional>

namespace neap::autoplan {

// Programs repeat their kinds of steps in patterns, such as five of a critic and one of a generator.
class StepHistory {
 public:
  static constexpr std::size_t kMost = 64;     // steps that are remembered
  static constexpr std::size_t kLongest = 16;  // that are compared

  void add(const StepId& step);
  // What came after the longest row of steps that was like the last ones. Of several, the latest.
  // Absent: the last step was never followed by another one.
  [[nodiscard]] std::optional<StepId> expected() const;

 private:
  [[nodiscard]] std::size_t alike_before(std::size_t next) const;

  std::deque<StepId> steps_;
};

}  // namespace neap::autoplan
