// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/retained.cpp: contents that cannot be made again, and what was made from them.
//
// Note [What is held]
// A storage that the program let go of, and that cannot be made again, is held while others could be made from it: a batch,
// the result of an operator that must not run twice. Plain LibTorch would have freed it, so what is held must never be what makes a
// budget too small. Two rules see to that:
//
//   * When it dies, and takes as many bytes as what could be evicted for holding it, its readers' recipes go, and it with them.
//   * While plain LibTorch would still fit, nothing is evicted: what is held goes instead, that which costs the fewest bytes of
//     what could be evicted first. So until plain LibTorch has needed more than the budget in this scope, all that the program
//     holds is there, and `held` only adds to it: a step that fits plain LibTorch always fits.
//
// From then on evicting is what saves memory, and holding is what makes it possible.
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

// `block` is about to lose a content that cannot be made again. Whatever depends on it, also through dead
// ancestors, is brought back and becomes given. First the search, then what may throw, then the changes.
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
    // An opaque block's current content needs no recipe, only its older versions did.
    if (block->residence != Residence::Gone) make_given(*block, Given::Overwritten);
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

bool Engine::worth_holding(Block& block) {
  const Trade trade = trade_of(block);
  return !trade.possible || trade.pins > trade.frees;
}

// Those that are made from it are pinned instead, when all are there. False: one is not. The caller releases the block.
bool Engine::unread_held(Block& block) {
  ++block.locks;  // protect_readers ends the lives of its readers
  const bool unread = protect_readers(block, /*may_materialize=*/false);
  --block.locks;
  return unread;
}

// Of what is held, that goes for which the least is pinned. Returns the bytes; 0: nothing can.
std::int64_t Engine::release_held() {
  if (materializing_) return 0;  // nodes must not go
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
  if (!unread_held(*best)) return 0;
  recipes_.release_if_unused(*best);
  return std::max<std::int64_t>(0, before - memory::usage().live);
}

}  // namespace neap::engine
