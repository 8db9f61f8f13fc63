// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/known_state.h"

#include "engine/policy.h"
#include "intercept/storage_access.h"
#include "memory/allocator.h"

#include <new>

namespace neap::engine {

void KnownState::remember() noexcept {
  known_.clear();
  try {
    for (const Block* const block : recipes_.blocks()) {
      if (!block->alive || block->replayable() || !store_.can_copy(*block)) continue;
      c10::raw::weak_intrusive_ptr::incref(block->storage);
      known_.push_back(
          {c10::weak_intrusive_ptr<c10::StorageImpl>::reclaim(block->storage), block->pinned});
    }
  } catch (const std::bad_alloc&) {
    return;
  }
}

void KnownState::meet() {
  for (const Known& known : known_) {
    const c10::intrusive_ptr<c10::StorageImpl> storage = known.storage.lock();
    if (!storage) continue;
    const c10::DataPtr& pointer = intercept::data_ptr_of(*storage);
    if (!store_.is_own(pointer) || pointer.get_context() == nullptr) continue;
    if (store_.find(*storage) == nullptr) tracker_.meet_again(*storage, known.pinned);
  }
}

void KnownState::make_room(std::int64_t bytes) {
  meet();
  while (memory::usage().live > bytes) {
    Block* largest = nullptr;
    for (Block* const block : store_.evictable()) {
      const bool larger = largest == nullptr || block->bytes > largest->bytes;
      if (larger && can_go(*block)) largest = block;
    }
    if (largest == nullptr) return;
    if (store_.evict(*largest, /*copies=*/true) == 0) store_.cannot_go(*largest);
  }
}

}  // namespace neap::engine
