// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/planned_step.h: a step that is known ahead, in the engine's terms, and the place in it.
//
// Note [Plans in the engine]
// A scope numbers the blocks that it meets or makes, and counts the program's operators; views are left out. Equal steps give equal
// numbers, so a plan can name a block before it exists. At each operator the plan says which blocks come back, beside the
// operands, and which go; and at any time which blocks stay for others although the program has let go of them.
// A plan is advice. What is asked for and not there is made again with all it needs, as without a plan; what cannot go stays; what
// does not fit is evicted by the policy. So neither bits nor budget hang on it, and a call that it did not foresee ends it and
// nothing else.
#pragma once

#include "engine/records.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace neap::engine {

// Immutable.
struct PlannedStep {
  // What belongs to one operator: ranges of `blocks`, one after the other, the last ends where the next operator's first begins.
  struct At {
    std::uint32_t brings;  // come back before it runs, and stay
    std::uint32_t leaves;  // go before it runs; a replay that comes before may still read them
    std::uint32_t evicts;  // go when it has run
    std::uint32_t ends;    // the program is about to let go of them, and then they go

    bool operator==(const At&) const = default;
  };

  std::vector<std::uint64_t> calls;  // a hash of all operators up to each
  std::vector<At> operators;         // one more, for what comes after the last
  std::vector<std::uint32_t> blocks;
  std::uint32_t numbers = 0;  // one more than the highest block
  std::int64_t predicted_peak = 0;
  std::int64_t predicted_ns = 0;  // of all operators and replays
};

// Where in its step a scope is. Cost: a comparison a call; no allocation on the heap after start().
class PlanCursor {
 public:
  using Steps = std::vector<std::shared_ptr<const PlannedStep>>;

  // From the first of `steps` that fits. When it turns out not to, another that has said the same so far may go on. Empty: none.
  void start(Steps steps);
  void stop() noexcept;

  [[nodiscard]] bool follows() const noexcept { return step_ != nullptr; }
  // The step that was followed to its end. Null: none was.
  [[nodiscard]] std::shared_ptr<const PlannedStep> completed() const;
  [[nodiscard]] const PlannedStep* step() const noexcept { return step_; }
  // The last by which an operator ran, whether it is still followed or not. Null: none has.
  [[nodiscard]] const PlannedStep* tried() const noexcept { return tried_; }
  // So many operators of the program were as foreseen; the next was not, or there is none yet.
  [[nodiscard]] std::size_t foreseen() const noexcept { return calls_; }

  // The next call of the program. False: no step knows it, and there is no plan any more.
  bool call(std::uint64_t hash);
  // It is an operator, and about to run. From here on stays() speaks of the moment when it runs.
  struct Before {
    std::span<const std::uint32_t> brings;
    std::span<const std::uint32_t> leaves;
  };
  Before before_operator();
  // It has run.
  std::span<const std::uint32_t> after_operator();

  // The plan has a use for the content of a block that the program has let go of.
  [[nodiscard]] bool stays(const Block& block) const noexcept {
    return step_ != nullptr && block.number < step_->numbers && gone_[block.number] == 0;
  }
  // The plan says that the block's content goes, or is gone.
  [[nodiscard]] bool goes(const Block& block) const noexcept {
    return step_ != nullptr && block.number < step_->numbers && gone_[block.number] != 0;
  }

 private:
  [[nodiscard]] std::span<const std::uint32_t> range(std::uint32_t begin, std::uint32_t end) const {
    return std::span(step_->blocks).subspan(begin, end - begin);
  }
  [[nodiscard]] bool said_the_same(const PlannedStep& other) const;

  Steps steps_;
  const PlannedStep* step_ = nullptr;  // one of steps_
  const PlannedStep* tried_ = nullptr;
  std::size_t calls_ = 0;  // so far
  std::size_t operators_ = 0;
  std::vector<std::uint8_t> gone_;  // by number
};

}  // namespace neap::engine
