// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/retained.cpp: contents that cannot be made again, and what was made from them.
//
// Note [What is held]
// The program may let go of a storage that cannot be made again, such as a batch or the result of
// an operator that must not run twice. The engine then holds the storage as long as something could
// be made from it. Plain LibTorch would have freed it. So held storages must never be the reason
// why a budget is too small, and recipes must not grow for ever. Two rules ensure this:
//
//   * A storage that the program lets go of is held only where more bytes could be evicted for it
//     than it takes. Otherwise what was made from it is pinned, and its recipes end. So a value
//     that is made from the one before it, for ever, does not get a growing chain of recipes
//     (tests/regression/recorder_test.cpp).
//   * While plain LibTorch would still fit, held storages are freed first, and something is evicted
//     only when none can be freed. The one for which the fewest bytes are pinned is freed first.
//     Until plain LibTorch has needed more than the budget in this scope, all that the program
//     holds is in memory, and held storages only come on top. So a step that fits plain LibTorch
//     always fits (tests/checkpoint/held_test.cpp).
//
// After that, evicting saves memory, and holding makes evicting possible.
#include "engine/engine.h"

#include <algorithm>
#include <limits>

namespace neap::engine {

Engine::Dependents Engine::dependents_of(Block& lost_block) {
  Dependents found;
  const auto lose_readers = [&](Block& block, bool all) {
    for (Read* read = block.readers; read != nullptr; read = read->next) {
      Node* const node = read->node();
      if ((all || read->version != block.version) && !node->marked) {
        node->marked = true;
        found.lost.push_back(node);
      }
    }
  };
  lose_readers(lost_block, true);
  for (std::size_t i = 0; i < found.lost.size(); ++i) {
    for (const Write& write : found.lost[i]->writes()) {
      Block* const block = write.block;
      if (block == nullptr || block->marked) continue;
      block->marked = true;
      found.affected.push_back(block);
      lose_readers(*block, block->residence == Residence::Gone);
    }
  }
  for (Node* const node : found.lost) node->marked = false;
  for (Block* const block : found.affected) block->marked = false;
  return found;
}

// `overwritten` is about to lose a content that cannot be made again. Everything that depends on
// this content, also through dead blocks, is restored and pinned. The search comes first, then what
// may throw, then the changes. Returns false when something is evicted and must not be restored.
bool Engine::protect_readers(Block& overwritten, bool may_materialize) {
  const Dependents found = dependents_of(overwritten);
  Locks locks(*this);
  std::vector<Block*> absent;
  for (Block* const block : found.affected) {
    locks.add(*block);
    if (block->residence == Residence::Evicted) absent.push_back(block);
  }
  if (!absent.empty()) {
    if (!may_materialize) return false;
    materialize(absent);
  }
  for (Block* const block : found.affected) {
    // The current content of an opaque block has no recipe. Only its older versions had one.
    if (block->residence != Residence::Gone) pin_for_good(*block, PinReason::Overwritten);
  }
  return true;
}

Engine::Trade Engine::trade_of(Block& held) {
  const Dependents found = dependents_of(held);
  Trade trade;
  for (const Block* const block : found.affected) {
    if (block->residence == Residence::Evicted) return trade;
    if (block->evictable >= 0) trade.pins += memory::footprint(block->bytes);
  }
  trade.possible = true;
  for (Node* const node : found.lost) node->marked = true;
  std::vector<Block*> counted;
  for (Node* const node : found.lost) {
    for (const Read& read : node->reads()) {
      Block& block = *read.block;
      if (block.marked || block.held < 0 || block.locks > 0) continue;
      bool alone = true;
      for (Read* other = block.readers; other != nullptr && alone; other = other->next) {
        alone = other->node()->marked;
      }
      if (!alone) continue;
      block.marked = true;
      counted.push_back(&block);
      trade.frees += block.unseen ? 0 : memory::footprint(block.bytes);
    }
  }
  for (Node* const node : found.lost) node->marked = false;
  for (Block* const block : counted) block->marked = false;
  return trade;
}

bool Engine::is_worth_holding(Block& block) {
  const Trade trade = trade_of(block);
  return !trade.possible || trade.pins > trade.frees;
}

// Pins what was made from the block instead, so that nobody needs the block. Returns false when
// something that was made from it is evicted. The caller releases the block.
bool Engine::release_from_readers(Block& block) {
  ++block.locks;  // protect_readers() may destroy the block's last readers
  const bool unread = protect_readers(block, /*may_materialize=*/false);
  --block.locks;
  return unread;
}

// Frees the held block for which the fewest bytes are pinned. Returns the bytes freed; 0: none can
// be freed.
std::int64_t Engine::release_held() {
  if (materializing_) return 0;  // nodes must not be destroyed
  Block* best = nullptr;
  std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
  for (Block* const block : held_) {
    if (block->locks > 0) continue;
    const Trade trade = trade_of(*block);
    if (!trade.possible || trade.pins - trade.frees >= lowest) continue;
    lowest = trade.pins - trade.frees;
    best = block;
  }
  if (best == nullptr) return 0;
  const std::int64_t before = memory::usage().live;
  if (!release_from_readers(*best)) return 0;
  recipes_.release_if_unused(*best);
  return std::max<std::int64_t>(0, before - memory::usage().live);
}

}  // namespace neap::engine
