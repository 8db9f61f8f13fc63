// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/pins.h"

#include "engine/locks.h"
#include "intercept/storage_access.h"

namespace neap::engine {

Pins::Pins(Session& session, Recipes& recipes, Store& store, Tracker& tracker, Restorer& restorer)
    : session_(session), recipes_(recipes), store_(store), tracker_(tracker), restorer_(restorer) {}

std::uint64_t Pins::pin(const at::Tensor& tensor) {
  c10::StorageImpl* const storage = intercept::tracked_storage_of(tensor);
  if (storage == nullptr || !session_.gate.owner_here()) return 0;
  const Busy busy(session_);
  const Gate::Eviction alone(session_.gate);  // a kernel of the program may call it
  Block* block = store_.find(*storage);
  if (block == nullptr && storage->nbytes() > 0) block = tracker_.track(tensor, *storage);
  if (block == nullptr) return 0;  // not LibTorch's memory, which is never evicted
  if (block->residence == Residence::Evicted) {
    Locks locks(recipes_);
    locks.add(*block);
    restorer_.restore({&block, 1});
  }
  ++block->pins;
  return tickets_;
}

void Pins::unpin(const at::Tensor& tensor) {
  c10::StorageImpl* const storage = intercept::tracked_storage_of(tensor);
  if (storage != nullptr && session_.gate.owner_here()) unpin(*storage, tickets_);
}

void Pins::unpin(c10::StorageImpl& storage, std::uint64_t ticket) {
  // The pins of an older ticket went with their scope.
  if (!session_.gate.owner_here() || ticket != tickets_) return;
  const Busy busy(session_);
  const Gate::Eviction alone(session_.gate);
  Block* const block = store_.find(storage);
  if (block != nullptr && block->pins > 0) --block->pins;
}

}  // namespace neap::engine
