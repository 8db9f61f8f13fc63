// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/policy.h: the interface that chooses what is evicted. The engine asks it and knows no
// policy.
#pragma once

#include "engine/block_copies.h"
#include "engine/records.h"

#include <cstdint>
#include <span>

namespace neap::engine {

struct Victim {
  Block* block = nullptr;  // null: none can be evicted
  bool copies = false;     // it is cheaper to bring back from a copy than by a replay
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  // The next block to evict among `evictable`, some of which may be locked or pinned. `clock`: ns
  // of operators run so far, the unit of Block::last_use. `copies` says what a copy costs. Hot:
  // called once per eviction, so its cost must not grow with the number of blocks.
  virtual Victim choose(std::span<Block* const> evictable, double clock,
                        const BlockCopies& copies) = 0;
  // on_evict(): the block's data is gone and has to be made again, because it was evicted without a
  // copy or because the program let go of it. on_restore(): the data is back.
  virtual void on_evict(Block& block) noexcept = 0;
  virtual void on_restore(Block& block) noexcept = 0;
  // The engine forgets all blocks.
  virtual void reset() noexcept = 0;
};

// True when the block may be evicted at this moment.
inline bool can_go(const Block& block) {
  return block.locks == 0 && block.pins == 0 && block.decision != CheckpointPolicy::MustSave;
}

}  // namespace neap::engine
