// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/support/training_runs.h: trains a family plainly or in scopes, and compares what is left
// byte by byte.
#pragma once

#include "support/families.h"

#include <neap/checkpoint.h>
#include <neap/train.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace neap::test {

// The state that a job leaves: parameters, gradients, buffers, optimizer state, generator, loss.
class JobState {
 public:
  static JobState of(const Job& job, double loss);
  // The name of the first thing that differs; empty when all bytes are equal.
  [[nodiscard]] std::string first_difference(const JobState& other) const;

 private:
  std::vector<train::State> states_;  // one for each optimizer
};

struct TrainingRun {
  std::vector<JobState> states;  // after each step
  std::int64_t base = 0;         // live before the last step, without gradients
  std::int64_t peak = 0;         // plain: live in the last step; in scopes: reserved in any step
  std::int64_t operators = 0;
  std::int64_t replays = 0;
  Stats last = {};  // of the last step
};

TrainingRun run_plain(const Family& family, int steps, std::uint64_t seed);
// Runs each step in a scope of its own. No plan is made while a step runs. `budget`: bytes of the
// whole process; 0: no budget.
// Throws: BudgetExceeded.
TrainingRun run_in_scope(const Family& family, int steps, std::uint64_t seed, std::int64_t budget,
                         const PlanMode& policy = Online{},
                         const std::optional<Offload>& offload = {});
// `base` and this percentage of what a plain step needs above it.
std::int64_t budget_at(const TrainingRun& plain, double percent);

}  // namespace neap::test
