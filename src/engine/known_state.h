// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/known_state.h: parameters and the optimizer's state, from one scope to the next.
//
// A scope learns of a storage when an operator meets it. The optimizer's state is met when the step
// ends, but it is to make room while the step runs. So what a scope with Options::offload has met
// of it, the next such scope knows when it opens.
#pragma once

#include "engine/recipes.h"
#include "engine/store.h"
#include "engine/tracker.h"

#include <c10/core/StorageImpl.h>

#include <cstdint>
#include <vector>

namespace neap::engine {

class KnownState {
 public:
  KnownState(Recipes& recipes, Store& store, Tracker& tracker)
      : recipes_(recipes), store_(store), tracker_(tracker) {}

  // The scope ends. Throws nothing: what finds no memory is not known later.
  void remember() noexcept;
  // A scope with copies begins: what is still there gets records, and goes until at most `bytes`
  // are live, as far as possible.
  void make_room(std::int64_t bytes);
  // Whether the block is a parameter, or what operators write that outlives a step: it was there
  // before the scope, or nothing can make it again.
  [[nodiscard]] static bool is_state(const Block& block) noexcept {
    return block.pinned == PinReason::Parameter ||
           (block.pinned == PinReason::Outside && block.version > 0) ||
           (block.pinned == PinReason::None && block.opaque);
  }

 private:
  struct Known {
    c10::weak_intrusive_ptr<c10::StorageImpl> storage;
    PinReason pinned;
  };
  void meet();

  Recipes& recipes_;
  Store& store_;
  Tracker& tracker_;
  std::vector<Known> known_;
};

}  // namespace neap::engine
