// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Training runs of the families, and the state that they leave.
#include "support/training_runs.h"

#include <neap/neap.h>

#include <torch/torch.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

namespace neap::test {

JobState JobState::of(const Job& job, double loss) {
  JobState state;
  for (const auto& optimizer : job.optimizers) {
    state.states_.push_back(train::State::of(*job.model, *optimizer, loss));
  }
  return state;
}

std::string JobState::first_difference(const JobState& other) const {
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (const auto difference = states_[i].first_difference(other.states_.at(i))) {
      return difference->name + "[" + std::to_string(difference->index) +
             "]: " + difference->expected + " and " + difference->found;
    }
  }
  return "";
}

TrainingRun run_plain(const Family& family, int steps, std::uint64_t seed) {
  torch::manual_seed(seed);
  const Job job = family.make();
  TrainingRun run;
  for (int step = 0; step < steps; ++step) {
    for (const auto& optimizer : job.optimizers) optimizer->zero_grad();
    memory::trim();
    memory::reset_peak();
    run.base = memory::usage().live;
    const double loss = job.step();
    run.peak = memory::usage().peak;
    run.states.push_back(JobState::of(job, loss));
  }
  return run;
}

TrainingRun run_in_scope(const Family& family, int steps, std::uint64_t seed, std::int64_t budget,
                         const PlanMode& policy, const std::optional<Offload>& offload) {
  torch::manual_seed(seed);
  const Job job = family.make();
  TrainingRun run;
  for (int step = 0; step < steps; ++step) {
    for (const auto& optimizer : job.optimizers) optimizer->zero_grad();
    Options options;
    if (budget > 0) options.budget = Bytes(budget);
    // The first step makes the optimizer's state, so no later step is like it. A plan of it would
    // be of no use.
    options.policy = step == 0 ? PlanMode(Online{}) : policy;
    options.offload = offload;
    Scope scope(options);
    const double loss = job.step();
    scope.end();
    run.peak = std::max(run.peak, scope.stats().peak_bytes);
    run.operators += scope.stats().operators;
    run.replays += scope.stats().replays;
    run.last = scope.stats();
    run.states.push_back(JobState::of(job, loss));
    finish_planning();
  }
  return run;
}

std::int64_t budget_at(const TrainingRun& plain, double percent) {
  return plain.base +
         static_cast<std::int64_t>(static_cast<double>(plain.peak - plain.base) * percent / 100);
}

}  // namespace neap::test
