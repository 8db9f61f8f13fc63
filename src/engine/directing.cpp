// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/directing.cpp: does what a director says, as far as possible. See Note [Directors]. Hot:
// called once per operator under a plan. bench/models.cpp measures it.
#include "engine/engine.h"

namespace neap::engine {

void Engine::stop_director() noexcept {
  if (!director_) return;
  director_->stop();
  director_.reset();
}

// `absent`: the operands without data. They are locked, as all operands are.
void Engine::bring_directed(std::span<Block* const> absent) {
  const std::optional<Director::Before> directed = director_->before_operator();
  was_directed_ = true;
  if (!directed) {
    stop_director();
    if (!absent.empty()) materialize(absent);
    return;
  }
  if (absent.empty() && directed->restores.empty()) return evict_all_of(directed->evicts);
  {
    c10::SmallVector<Block*, 16> targets(absent.begin(), absent.end());
    Locks locks(*this);
    for (const std::uint32_t number : directed->restores) {
      Block* const block = numbered_of(number);
      if (block == nullptr || block->has_data() || !block->replayable()) continue;
      locks.add(*block);
      targets.push_back(block);
    }
    try {
      if (!targets.empty()) materialize(targets, /*again=*/targets.size() == absent.size());
    } catch (const BudgetExceeded&) {
      stop_director();  // it asks for more than fits now, but the operands alone may still fit
      if (targets.size() == absent.size()) throw;
    }
  }
  if (director_) return evict_all_of(directed->evicts);
  materialize(absent);
}

void Engine::evict_all_of(std::span<const std::uint32_t> numbers) {
  for (const std::uint32_t number : numbers) {
    Block* const block = numbered_of(number);
    if (block == nullptr) continue;
    release_content(*block);
    recipes_.release_if_unused(*block);
  }
}

// The director says that the content is not needed. A content that can be made again is evicted.
// Another content is freed only after the program has let go of it, and only when nothing evicted
// would have to be made from it. The caller releases the block.
void Engine::release_content(Block& block) {
  if (block.locks > 0) return;
  if (block.evictable >= 0) {
    if (can_go(block)) evict(block);
  } else if (block.residence == Residence::Retained && !block.replayable() && !materializing_) {
    release_from_readers(block);
  }
}

}  // namespace neap::engine
