// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "policy/dtr_eq.h"

#include <algorithm>
#include <array>
#include <limits>
#include <new>

namespace neap::policy {

using engine::Block;
using engine::BlockCopies;
using engine::Read;
using engine::Residence;
using engine::Victim;
using engine::Write;
using planner::EvictedSets;

namespace {

// Up to this many candidates, all are scored; of more, a random sample of this size.
constexpr std::size_t kSample = 128;

bool is_gone(const Block& block) {
  return block.residence == Residence::Evicted || block.residence == Residence::Gone;
}

// Each return makes the block more expensive, so that one block is not evicted again and again
// while others stay.
double penalty(const Block& block) { return 1.0 + block.replays; }

}  // namespace

// Visits the evicted inputs of the block's operators, which would have to be restored first, and
// the evicted blocks that are made from it.
template <class Visit>
void DtrEq::for_each_gone_neighbour(Block& block, Visit visit) {
  for (Write* write = block.chain; write != nullptr; write = write->previous) {
    for (const Read& read : write->node()->reads()) {
      if (is_gone(*read.block) && read.block->evicted_set != EvictedSets::kNone) visit(*read.block);
    }
    if (write->whole) break;
  }
  for (Read* read = block.readers; read != nullptr; read = read->next) {
    for (const Write& write : read->node()->writes()) {
      if (write.block != nullptr && is_gone(*write.block) &&
          write.block->evicted_set != EvictedSets::kNone) {
        visit(*write.block);
      }
    }
  }
}

double DtrEq::replay_ns(Block& block) {
  if (!block.replayable()) return std::numeric_limits<double>::infinity();
  const double around = evicted_.sum_of([&](const auto& visit) {
    for_each_gone_neighbour(block, [&](Block& neighbour) { visit(neighbour.evicted_set); });
  });
  return static_cast<double>(block.cost_ns) * penalty(block) + around;
}

std::uint32_t DtrEq::next_random() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  return random_;
}

Victim DtrEq::choose(std::span<Block* const> evictable, double clock, const BlockCopies& copies) {
  Victim best;
  double lowest = std::numeric_limits<double>::infinity();
  const auto look = [&](Block* block) {
    if (!engine::can_go(*block)) return;
    const double replay = replay_ns(*block);
    const double copy = copies.is_open() ? copies.price_ns(*block) * penalty(*block)
                                         : std::numeric_limits<double>::infinity();
    const double value =
        planner::h_dtr_eq(std::min(replay, copy), 0, block->bytes, clock - block->last_use);
    if (value < lowest) {
      lowest = value;
      best = {block, copy < replay};
    }
  };
  if (evictable.size() <= kSample) {
    for (Block* const block : evictable) look(block);
    return best;
  }
  // With many candidates, each score waits for memory several times. Prefetch for all of the sample
  // first.
  std::array<Block*, kSample> sample;
  for (Block*& block : sample) {
    block = evictable[next_random() % evictable.size()];
    __builtin_prefetch(block);
    __builtin_prefetch(&block->replays);
  }
  for (const Block* const block : sample) {
    __builtin_prefetch(block->chain);
    __builtin_prefetch(block->readers);
  }
  for (const Block* const block : sample) {
    if (block->chain != nullptr) __builtin_prefetch(block->chain->node());
    if (block->readers != nullptr) __builtin_prefetch(block->readers->node());
  }
  for (Block* const block : sample) look(block);
  if (best.block != nullptr) return best;
  for (Block* const block : evictable) look(block);  // the whole sample is locked
  return best;
}

void DtrEq::on_evict(Block& block) noexcept {
  EvictedSets::Set mine = EvictedSets::kNone;
  try {
    mine = evicted_.add(static_cast<double>(block.cost_ns));
  } catch (const std::bad_alloc&) {
    block.evicted_set = EvictedSets::kNone;  // its neighbours count as cheaper than they are
    return;
  }
  for_each_gone_neighbour(block, [&](Block& neighbour) {
    if (&neighbour != &block) evicted_.join(mine, neighbour.evicted_set);
  });
  block.evicted_set = mine;
}

void DtrEq::on_restore(Block& block) noexcept {
  if (block.evicted_set == EvictedSets::kNone) return;
  evicted_.subtract(block.evicted_set, static_cast<double>(block.cost_ns));
  block.evicted_set = EvictedSets::kNone;
}

void DtrEq::reset() noexcept { evicted_.clear(); }

}  // namespace neap::policy
