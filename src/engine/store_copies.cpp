// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/store_copies.cpp: how data comes back from the tier: see Note [Copies].
#include "engine/store.h"

#include <algorithm>
#include <utility>

namespace neap::engine {

// A copy that is there or under way is used. Where the content has been written by hand since it
// was copied, it is copied anew.
bool Store::has_good_copy(Block& block, bool copies) {
  for (int tries = 0; tries < 2; ++tries) {
    if (block.copy == nullptr && !(copies && copies_.can_copy(block) && copies_.begin(block))) {
      return false;
    }
    if (copies_.settle(block)) return true;
  }
  return false;
}

void Store::begin_load(Block& block) {
  if (arriving_.size() == arriving_.capacity()) arriving_.reserve(2 * arriving_.size() + 16);
  c10::DataPtr memory = memory::allocator().allocate(static_cast<std::size_t>(block.bytes));
  block.arriving = memory.get();
  try {
    copies_.load(block);
  } catch (...) {
    block.arriving = nullptr;
    throw;
  }
  static_cast<void>(memory.release_context());
  arriving_.push_back(&block);
}

bool Store::finish_load(Block& block) {
  const bool arrived = copies_.finish_load(block);
  std::erase(arriving_, &block);
  void* const data = std::exchange(block.arriving, nullptr);
  if (!arrived) {
    memory::release(data);
    block.copy_lost = true;
    return false;
  }
  block.data = data;
  move(block, Residence::Working);
  return true;
}

void Store::cancel_load(Block& block) noexcept {
  if (block.arriving == nullptr) return;
  static_cast<void>(copies_.finish_load(block));  // a thread may still write there
  std::erase(arriving_, &block);
  memory::release(std::exchange(block.arriving, nullptr));
}

void Store::drop_copy(Block& block) noexcept {
  cancel_load(block);
  copies_.drop(block);
}

std::int64_t Store::cancel_loads() noexcept {
  std::int64_t freed = 0;
  for (std::size_t i = arriving_.size(); i-- > 0;) {
    Block& block = *arriving_[i];
    if (block.locks > 0) continue;
    freed += memory::entry_of(block.arriving).taken;
    cancel_load(block);
  }
  return freed;
}

void Store::stays_copied(Block& block) noexcept {
  block.evictable = block.held = block.in_region = block.work = -1;
  block.pins = block.replays = 0;
  block.region = block.evicted_set = 0;
  block.scope_number = kNoNumber;
  block.decision.reset();
  block.blank = Blank::No;
  block.opaque = block.kept = block.chosen = block.temporary = false;
  block.version = 1;
  if (block.pinned != PinReason::Parameter) block.pinned = PinReason::Outside;
  ++evicted_;
  away_ += memory::footprint(block.bytes);
}

}  // namespace neap::engine
