// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/step_id.h: the name of a kind of step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace neap::autoplan {

// A sequence of calls under a budget. Steps with equal ids run the same operators on the same
// sizes, so one plan serves them all.
struct StepId {
  std::uint64_t calls = 0;     // a hash of all operators
  std::size_t count = 0;       // of the operators
  std::int64_t budget = 0;     // bytes
  std::string plan_file = {};  // the plan comes from this file; empty: the planner makes it
  bool offloads = false;       // storages may be copied to a tier

  bool operator==(const StepId&) const = default;
  // The same operators, and both plans are the planner's. The budgets may differ.
  [[nodiscard]] bool same_operators(const StepId& other) const {
    return calls == other.calls && count == other.count && offloads == other.offloads &&
           plan_file.empty() && other.plan_file.empty();
  }
};

}  // namespace neap::autoplan
