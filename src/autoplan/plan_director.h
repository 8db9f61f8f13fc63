// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/plan_director.h: tells the engine what a plan says, operator by operator.
#pragma once

#include "autoplan/planned_step.h"
#include "engine/director.h"

#include <neap/engine.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace neap::autoplan {

// Several plans may begin alike. It follows the first one until an operator differs, then another
// one that has said the same so far. Cost: a comparison an operator; no allocation on the heap
// after start().
class PlanDirector final : public engine::Director {
 public:
  using Steps = std::vector<std::shared_ptr<const PlannedStep>>;

  // For a scope that has just been opened. Empty: there is no plan.
  void start(Steps steps);

  [[nodiscard]] bool follows() const noexcept { return step_ != nullptr; }
  // The plan that is followed. Null: none is.
  [[nodiscard]] const PlannedStep* step() const noexcept { return step_; }
  // The plan that was followed to its end. Null: none was.
  [[nodiscard]] std::shared_ptr<const PlannedStep> completed() const;
  // The last plan by which an operator ran, whether it is still followed or not. Null: none has.
  [[nodiscard]] const PlannedStep* tried() const noexcept { return tried_; }
  // So many operators of the program were as the plan says; the next was not, or there is none yet.
  [[nodiscard]] std::size_t foreseen() const noexcept { return calls_; }
  // The operator that ended the plan. Null: none has.
  [[nodiscard]] const intercept::OperatorTraits* not_foreseen() const { return not_foreseen_; }
  // The most bytes that were missing at once since start().
  [[nodiscard]] std::int64_t shortage() const { return shortage_; }

  // Those of plans. Counted since the process started.
  void add_counts(Stats& stats) const;
  void count_hit() { ++hits_; }

  // engine::Director
  bool foresees(std::uint64_t so_far, const intercept::OperatorTraits* op) override;
  std::optional<Before> before_operator() override;
  After after_operator() override;
  [[nodiscard]] bool keeps(const engine::Block& block) const noexcept override {
    return knows(block) && gone_[block.scope_number] == 0;
  }
  [[nodiscard]] bool frees(const engine::Block& block) const noexcept override {
    return knows(block) && gone_[block.scope_number] != 0;
  }
  void fell_short(std::int64_t bytes, std::int64_t freed) noexcept override;
  void stop() noexcept override;

 private:
  [[nodiscard]] bool knows(const engine::Block& block) const noexcept {
    return step_ != nullptr && block.scope_number < step_->numbers;
  }
  [[nodiscard]] std::span<const std::uint32_t> range(std::uint32_t begin, std::uint32_t end) const {
    return std::span(step_->blocks).subspan(begin, end - begin);
  }
  [[nodiscard]] bool agrees_so_far(const PlannedStep& other) const;

  Steps steps_;
  const PlannedStep* step_ = nullptr;  // one of steps_
  const PlannedStep* tried_ = nullptr;
  const intercept::OperatorTraits* not_foreseen_ = nullptr;
  std::size_t calls_ = 0;  // so far
  std::size_t operators_ = 0;
  std::vector<std::uint8_t> gone_;  // by number: the plan says that the content is not needed
  std::int64_t shortage_ = 0;

  std::int64_t hits_ = 0, misses_ = 0, planned_operators_ = 0, unplanned_bytes_ = 0;
};

}  // namespace neap::autoplan
