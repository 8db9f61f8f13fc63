// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "engine/recipes.h"

#include <c10/util/SmallVector.h>

namespace neap::engine {

// Keeps one block in memory and alive. The caller releases the block afterwards.
class Lock {
 public:
  explicit Lock(Block& block) noexcept : block_(block) { ++block_.locks; }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() { --block_.locks; }

 private:
  Block& block_;
};

// Keeps blocks in memory and alive until it is released.
class Locks {
 public:
  explicit Locks(Recipes& recipes) : recipes_(recipes) {}
  Locks(const Locks&) = delete;
  Locks& operator=(const Locks&) = delete;
  ~Locks() { release(); }
  void add(Block& block) {
    blocks_.push_back(&block);
    ++block.locks;
  }
  void release() noexcept {
    for (Block* const block : blocks_) {
      --block->locks;
      recipes_.release_if_unused(*block);
    }
    blocks_.clear();
  }

 private:
  Recipes& recipes_;
  c10::SmallVector<Block*, 12> blocks_;
};

}  // namespace neap::engine
