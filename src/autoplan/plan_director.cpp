// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/plan_director.h"

#include <algorithm>
#include <utility>

namespace neap::autoplan {

void PlanDirector::start(Steps steps) {
  steps_ = std::move(steps);
  step_ = steps_.empty() ? nullptr : steps_.front().get();
  tried_ = nullptr;
  not_foreseen_ = nullptr;
  calls_ = operators_ = 0;
  shortage_ = 0;
  std::uint32_t numbers = 0;
  for (const auto& step : steps_) numbers = std::max(numbers, step->numbers);
  gone_.assign(numbers, 0);
}

// What was tried may be one of steps_, so they stay until start().
void PlanDirector::stop() noexcept { step_ = nullptr; }

std::shared_ptr<const PlannedStep> PlanDirector::completed() const {
  if (step_ == nullptr || calls_ != step_->calls.size()) return nullptr;
  const auto found = std::ranges::find(steps_, step_, [](const auto& step) { return step.get(); });
  return found == steps_.end() ? nullptr : *found;
}

void PlanDirector::add_counts(Stats& stats) const {
  stats.plan_hits += hits_;
  stats.plan_misses += misses_;
  stats.planned_operators += planned_operators_;
  stats.unplanned_bytes += unplanned_bytes_;
  if (step_ == nullptr) return;
  stats.predicted_peak_bytes = step_->predicted_peak;
  stats.predicted_ns = step_->predicted_ns;
}

bool PlanDirector::agrees_so_far(const PlannedStep& other) const {
  if (operators_ >= other.operators.size()) return false;
  const auto mine = std::span(step_->operators).first(operators_);
  const auto its = std::span(other.operators).first(operators_);
  const std::uint32_t said = step_->operators[operators_].brings;
  return other.operators[operators_].brings == said && std::ranges::equal(mine, its) &&
         std::ranges::equal(std::span(step_->blocks).first(said),
                            std::span(other.blocks).first(said));
}

bool PlanDirector::foresees(std::uint64_t so_far, const intercept::OperatorTraits* op) {
  // The plan has this hash at the operator that comes next.
  const auto expects = [&](const PlannedStep& plan) {
    return calls_ < plan.calls.size() && plan.calls[calls_] == so_far;
  };
  if (!expects(*step_)) {
    // What has been restored and evicted so far must suit the other plan too.
    const auto other = std::ranges::find_if(
        steps_, [&](const auto& plan) { return expects(*plan) && agrees_so_far(*plan); });
    if (other == steps_.end()) {
      stop();
      ++misses_;
      not_foreseen_ = op;
      return false;
    }
    step_ = other->get();
  }
  ++calls_;
  return true;
}

std::optional<engine::Director::Before> PlanDirector::before_operator() {
  tried_ = step_;
  ++planned_operators_;
  if (operators_ + 1 == step_->operators.size()) {  // a plan from a file may contradict itself
    stop();
    return std::nullopt;
  }
  const PlannedStep::At& at = step_->operators[operators_];
  const Before now{range(at.brings, at.leaves), range(at.leaves, at.loads),
                   range(at.loads, at.copies)};
  for (const std::uint32_t number : now.restores) gone_[number] = 0;
  for (const std::uint32_t number : now.evicts) gone_[number] = 1;
  for (const std::uint32_t number : now.loads) gone_[number] = 0;
  return now;
}

engine::Director::After PlanDirector::after_operator() {
  const PlannedStep::At& at = step_->operators[operators_];
  ++operators_;
  const std::uint32_t end = step_->operators[operators_].brings;
  const After now{range(at.copies, at.evicts), range(at.evicts, at.loads_after),
                  range(at.loads_after, at.ends)};
  for (const std::uint32_t number : now.evicts) gone_[number] = 1;
  for (const std::uint32_t number : now.loads) gone_[number] = 0;
  for (const std::uint32_t number : range(at.ends, end)) gone_[number] = 1;
  return now;
}

void PlanDirector::fell_short(std::int64_t bytes, std::int64_t freed) noexcept {
  shortage_ = std::max(shortage_, bytes);
  unplanned_bytes_ += freed;
}

}  // namespace neap::autoplan
