// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/planned_step.h"

#include <algorithm>
#include <utility>

namespace neap::engine {

void PlanCursor::start(Steps steps) {
  steps_ = std::move(steps);
  step_ = steps_.empty() ? nullptr : steps_.front().get();
  tried_ = nullptr;
  calls_ = operators_ = 0;
  std::uint32_t numbers = 0;
  for (const auto& step : steps_) numbers = std::max(numbers, step->numbers);
  gone_.assign(numbers, 0);
}

void PlanCursor::stop() noexcept {
  step_ = nullptr;
  steps_.clear();
}

std::shared_ptr<const PlannedStep> PlanCursor::completed() const {
  if (step_ == nullptr || calls_ != step_->calls.size()) return nullptr;
  const auto found = std::ranges::find(steps_, step_, [](const auto& step) { return step.get(); });
  return found == steps_.end() ? nullptr : *found;
}

bool PlanCursor::said_the_same(const PlannedStep& other) const {
  if (operators_ >= other.operators.size()) return false;
  const auto mine = std::span(step_->operators).first(operators_);
  const auto its = std::span(other.operators).first(operators_);
  const std::uint32_t said = step_->operators[operators_].brings;
  return other.operators[operators_].brings == said && std::ranges::equal(mine, its) &&
         std::ranges::equal(std::span(step_->blocks).first(said),
                            std::span(other.blocks).first(said));
}

bool PlanCursor::call(std::uint64_t hash) {
  const auto fits = [&](const PlannedStep& step) {
    return calls_ < step.calls.size() && step.calls[calls_] == hash;
  };
  if (!fits(*step_)) {
    const PlannedStep* other = nullptr;
    for (const auto& step : steps_) {
      if (other == nullptr && fits(*step) && said_the_same(*step)) other = step.get();
    }
    step_ = other;
    if (step_ == nullptr) return false;
  }
  ++calls_;
  return true;
}

PlanCursor::Before PlanCursor::before_operator() {
  tried_ = step_;
  if (operators_ + 1 == step_->operators.size()) {  // a step from a file may say what it likes
    stop();
    return {};
  }
  const PlannedStep::At& at = step_->operators[operators_];
  const Before now{range(at.brings, at.leaves), range(at.leaves, at.evicts)};
  for (const std::uint32_t number : now.brings) gone_[number] = 0;
  for (const std::uint32_t number : now.leaves) gone_[number] = 1;
  return now;
}

std::span<const std::uint32_t> PlanCursor::after_operator() {
  const PlannedStep::At& at = step_->operators[operators_];
  ++operators_;
  const std::uint32_t end = step_->operators[operators_].brings;
  for (const std::uint32_t number : range(at.evicts, end)) gone_[number] = 1;
  return range(at.evicts, at.ends);
}

}  // namespace neap::engine
