// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/retention.h"

#include "engine/locks.h"

#include <algorithm>
#include <limits>

namespace neap::engine {

Retention::Retention(Session& session, Recipes& recipes, Store& store, Restorer& restorer)
    : session_(session), recipes_(recipes), store_(store), restorer_(restorer) {}

// While it lives, what is in the two lists is marked. A mark that stayed would hide its bearer from
// the next search, so none stays when a list has no memory to grow.
class Retention::Marks {
 public:
  Marks(const std::vector<Node*>& nodes, const std::vector<Block*>& blocks)
      : nodes_(nodes), blocks_(blocks) {}
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;
  ~Marks() {
    for (Node* const node : nodes_) node->marked = false;
    for (Block* const block : blocks_) block->marked = false;
  }

 private:
  const std::vector<Node*>& nodes_;
  const std::vector<Block*>& blocks_;
};

Retention::Dependents Retention::dependents_of(Block& lost_block) {
  Dependents found;
  search(lost_block, found);
  return found;
}

void Retention::search(Block& lost_block, Dependents& found) {
  const Marks marks(found.lost, found.affected);
  const auto lose_readers = [&](Block& block, bool all) {
    for (Read* read = block.readers; read != nullptr; read = read->next) {
      Node* const node = read->node();
      if ((all || read->version != block.version) && !node->marked) {
        found.lost.push_back(node);
        node->marked = true;
      }
    }
  };
  lose_readers(lost_block, true);
  for (std::size_t i = 0; i < found.lost.size(); ++i) {
    for (const Write& write : found.lost[i]->writes()) {
      Block* const block = write.block;
      if (block == nullptr || block->marked) continue;
      found.affected.push_back(block);
      block->marked = true;
      lose_readers(*block, block->residence == Residence::Gone);
    }
  }
}

// `overwritten` is about to lose a content that cannot be made again. Everything that depends on
// this content, also through dead blocks, is restored and pinned. The search comes first, then what
// may throw, then the changes. Returns false when something is evicted and must not be restored.
bool Retention::protect_readers(Block& overwritten, bool may_restore) {
  const Dependents found = dependents_of(overwritten);
  Locks locks(recipes_);
  std::vector<Block*> absent;
  for (Block* const block : found.affected) {
    locks.add(*block);
    if (block->residence == Residence::Evicted) absent.push_back(block);
  }
  if (!absent.empty()) {
    if (!may_restore) return false;
    restorer_.restore(absent);
  }
  for (Block* const block : found.affected) {
    // The current content of an opaque block has no recipe. Only its older versions had one.
    if (block->residence != Residence::Gone) store_.pin_for_good(*block, PinReason::Overwritten);
  }
  return true;
}

void Retention::before_write(Block& block) {
  store_.check_blank(block);
  if (!block.replayable() && block.reader_count > 0) protect_readers(block, /*may_restore=*/true);
}

void Retention::before_exposure(Block& block) {
  store_.check_blank(block);
  if (block.reader_count > 0) protect_readers(block, /*may_restore=*/true);
}

Retention::Trade Retention::trade_of(Block& held) {
  const Dependents found = dependents_of(held);
  Trade trade;
  for (const Block* const block : found.affected) {
    if (block->residence == Residence::Evicted) return trade;
    if (block->evictable >= 0) trade.pins += memory::footprint(block->bytes);
  }
  trade.possible = true;
  std::vector<Block*> counted;
  const Marks marks(found.lost, counted);
  for (Node* const node : found.lost) node->marked = true;
  for (Node* const node : found.lost) {
    for (const Read& read : node->reads()) {
      Block& block = *read.block;
      if (block.marked || block.held < 0 || block.locks > 0) continue;
      bool alone = true;
      for (Read* other = block.readers; other != nullptr && alone; other = other->next) {
        alone = other->node()->marked;
      }
      if (!alone) continue;
      counted.push_back(&block);
      block.marked = true;
      trade.frees += block.unseen ? 0 : memory::footprint(block.bytes);
    }
  }
  return trade;
}

bool Retention::is_worth_holding(Block& block) {
  const Trade trade = trade_of(block);
  return !trade.possible || trade.pins > trade.frees;
}

bool Retention::release_from_readers(Block& block) {
  const Lock lock(block);  // protect_readers() may destroy the block's last readers
  return protect_readers(block, /*may_restore=*/false);
}

std::int64_t Retention::release_held() {
  if (session_.restoring) return 0;  // nodes must not be destroyed
  Block* best = nullptr;
  std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
  for (Block* const block : store_.held()) {
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

void Retention::release_content(Block& block) {
  if (block.locks > 0) return;
  if (block.evictable >= 0 && block.can_come_back()) {
    if (can_go(block)) store_.evict(block);
  } else if (block.residence == Residence::Retained && !block.replayable() && !session_.restoring) {
    release_from_readers(block);
  }
}

}  // namespace neap::engine
