// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/policy.h: who decides what goes. The engine asks; it knows no policy.
#pragma once

#include "engine/records.h"

#include <cstdint>
#include <span>

namespace neap::engine {

class Policy {
 public:
  virtual ~Policy() = default;
  // The next block to evict among `evictable`, of which some may be locked or pinned; null: none may go.
  // `clock`: ns of operators run so far, the unit of Block::last_use. Hot: once per eviction; its cost must not grow
  // with the number of blocks.
  virtual Block* choose(std::span<Block* const> evictable, double clock) = 0;
  // The block's data is gone (evicted, or let go of by the program), respectively back.
  virtual void went(Block& block) = 0;
  virtual void came_back(Block& block) = 0;
  // All blocks are forgotten.
  virtual void reset() = 0;
};

// True when the block may be evicted at this moment.
inline bool can_go(const Block& block) {
  return block.locks == 0 && block.pins == 0 && block.decision != Decision::MustSave;
}

}  // namespace neap::engine
