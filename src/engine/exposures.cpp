// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/exposures.h"

#include "engine/call.h"
#include "engine/explain.h"
#include "engine/locks.h"
#include "intercept/storage_access.h"

namespace neap::engine {
namespace {

constexpr std::uint32_t kNeverHashed = ~std::uint32_t{0};  // no version

}  // namespace

Exposures::Exposures(Session& session, Recipes& recipes, Store& store, Deaths& deaths,
                     Tracker& tracker, Retention& retention, Restorer& restorer)
    : session_(session),
      recipes_(recipes),
      store_(store),
      deaths_(deaths),
      tracker_(tracker),
      retention_(retention),
      restorer_(restorer) {}

// The record cannot go while deaths are locked. What it says may be of a moment ago; a storage that
// had no recipe then has none now, unless an operator writes it whole.
void Exposures::refuse_elsewhere(const at::Tensor& tensor) {
  c10::StorageImpl* const storage = intercept::tracked_storage_of(tensor);
  if (storage == nullptr || !session_.gate.has_owner()) return;
  const auto lock = deaths_.lock();
  const Block* const block = store_.find(*storage);
  if (block == nullptr || block->pinned != PinReason::None || block->bytes < kSmallest) return;
  throw ScopeConflict(
      "the address of a tensor that neap may evict was asked for in another thread than that of "
      "the neap::Scope, where it cannot be kept in memory; take the address in the thread of the "
      "scope, or give the other thread a copy");
}

// Null: neap never evicts the storage.
Block* Exposures::block_of(const at::Tensor& tensor) {
  c10::StorageImpl* const storage = intercept::tracked_storage_of(tensor);
  if (storage == nullptr || storage->nbytes() == 0) return nullptr;
  Block* const block = store_.find(*storage);
  return block != nullptr || !session_.is_tracking() ? block : tracker_.track(tensor, *storage);
}

void Exposures::bring_back(Block& block) {
  if (block.residence != Residence::Evicted) return;
  Block* const target = &block;
  restorer_.restore({&target, 1});
}

void Exposures::expose(const at::Tensor& tensor) {
  if (!session_.gate.owner_here()) return refuse_elsewhere(tensor);
  const Busy busy(session_);
  const Gate::Eviction alone(session_.gate);  // a kernel of the program may call it
  if (Block* const block = block_of(tensor)) expose(*block);
}

void Exposures::watch(const at::Tensor& tensor) {
  if (!session_.gate.owner_here()) return refuse_elsewhere(tensor);
  const Busy busy(session_);
  const Gate::Eviction alone(session_.gate);
  Block* const block = block_of(tensor);
  if (block == nullptr) return;
  if (block->pinned != PinReason::Parameter && block->pinned != PinReason::Outside) {
    return expose(*block);
  }
  any_watched_ = true;
  if (block->blank == Blank::Watched) return;
  Locks locks(recipes_);
  locks.add(*block);
  bring_back(*block);
  if (block->reader_count > 0) {
    store_.watch(*block);
  } else {
    block->blank = Blank::Watched;  // the first operator that reads it hashes it
    block->blank_version = kNeverHashed;
  }
  store_.update_lists(*block);
}

void Exposures::expose(Block& block) {
  if (block.pinned == PinReason::Exposed) return;
  Locks locks(recipes_);
  locks.add(block);
  bring_back(block);
  retention_.before_exposure(block);
  store_.pin_for_good(block, PinReason::Exposed);
  if (session_.observer != nullptr) session_.observer->not_replayable(block);
}

void Exposures::compare_operands(const Call& call) {
  for (const Operand& operand : call.operands) {
    if (operand.block == nullptr || operand.block->blank != Blank::Watched) continue;
    if (operand.use == Use::Read || operand.use == Use::Write || operand.use == Use::Once) {
      compare(*operand.block);
    }
  }
}

// The operator reads what is there now, so the hash is of this content from here on.
void Exposures::compare(Block& block) {
  if (block.version == block.blank_version) {
    if (store_.is_as_hashed(block)) return;
    if (block.reader_count > 0 && !retention_.release_from_readers(block)) {
      throw HandWritten(describe(block));
    }
    ++block.version;
  }
  store_.watch(block);
}

}  // namespace neap::engine
