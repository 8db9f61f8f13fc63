// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/following.cpp: what a plan says is done here, as far as it can be. See Note [Plans in the engine].
// Hot: once per operator under a plan. Guarded by bench/models.cpp.
#include "engine/engine.h"

namespace neap::engine {

void Engine::follow(PlanCursor::Steps steps) {
  plan_.start(std::move(steps));
  // Else the peak would be that of whatever is cached.
  memory::set_target(plan_.follows() ? std::optional(plan_.step()->predicted_peak) : std::nullopt);
  plan_shortage_ = 0;
  not_foreseen_ = nullptr;
}

// `absent`: the operands that are not there, locked as all operands are.
void Engine::bring_planned(std::span<Block* const> absent) {
  const PlanCursor::Before planned = plan_.before_operator();
  ++stats_.planned_operators;
  if (absent.empty() && planned.brings.empty()) return free_planned(planned.leaves);
  {
    c10::SmallVector<Block*, 16> targets(absent.begin(), absent.end());
    Locks locks(*this);
    for (const std::uint32_t number : planned.brings) {
      Block* const block = numbered_of(number);
      if (block == nullptr || block->has_data() || !block->replayable()) continue;
      locks.add(*block);
      targets.push_back(block);
    }
    try {
      if (!targets.empty()) materialize(targets, /*again=*/targets.size() == absent.size());
    } catch (const BudgetExceeded&) {
      plan_.stop();  // it asks for more than fits today: the operands alone may still fit
      if (targets.size() == absent.size()) throw;
    }
  }
  if (plan_.follows()) return free_planned(planned.leaves);
  materialize(absent);
}

void Engine::free_planned(std::span<const std::uint32_t> numbers) {
  for (const std::uint32_t number : numbers) {
    Block* const block = numbered_of(number);
    if (block == nullptr) continue;
    let_go(*block);
    recipes_.release_if_unused(*block);
  }
}

// The plan needs its content no more. What cannot be made again goes only when the program has let go of it, and nothing that
// is away would have to be made from it. The caller releases the block.
void Engine::let_go(Block& block) {
  if (block.locks > 0) return;
  if (block.evictable >= 0) {
    if (can_go(block)) evict(block);
  } else if (block.residence == Residence::Retained && !block.replayable() && !materializing_) {
    unread_held(block);
  }
}

}  // namespace neap::engine
