// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/step_history.h: which step comes next.
#pragma once

#include "autoplan/step_id.h"

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

namespace neap::autoplan {

// Programs repeat their kinds of steps in patterns, such as five of a critic and one of a
// generator.
class StepHistory {
 public:
  static constexpr std::size_t kMost = 64;     // steps that are remembered
  static constexpr std::size_t kLongest = 16;  // that are compared

  void add(const StepId& step);
  // What came after the longest row of steps that was like the last ones. Of several, the latest.
  // Where no row of the last kMost steps is: what came after such a step the last time. Absent: it
  // was never followed by another one.
  [[nodiscard]] std::optional<StepId> expected() const;

 private:
  [[nodiscard]] std::size_t alike_before(std::size_t next) const;

  std::deque<StepId> steps_;
  // What came after each kind of step the last time, for kMost of them; the latest last.
  std::deque<std::pair<StepId, StepId>> followed_;
};

}  // namespace neap::autoplan
