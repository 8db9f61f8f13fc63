// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/regions.h"

#include "engine/ancestors.h"
#include "memory/allocator.h"

#include <utility>

namespace neap::engine {
namespace {

// True when `block` cannot be made again without replaying an operator whose result is to be saved
// and is dead. If that result is alive, it was evicted because the budget was full, and it is
// restored anyway.
bool needs_saved(Block& block) {
  bool needs = false;
  for_each_gone_ancestor(
      block, [&](const Block& gone) { needs = needs || (gone.saved() && !gone.alive); });
  return needs;
}

}  // namespace

Regions::Regions(Session& session, Store& store, const Restorer& restorer, const LayerNames& layers,
                 RunLog& run_log)
    : session_(session), store_(store), restorer_(restorer), layers_(layers), run_log_(run_log) {}

bool Regions::can_open(bool evicts) const {
  // An observer is to see the step as it is without regions.
  if (session_.observer != nullptr && session_.only_observing()) return false;
  return evicts || !regions_.empty();
}

void Regions::open(Selector* selector, bool evicts, const std::string& name) {
  regions_.push_back({selector, blocks_.size(), names_.number(name), evicts});
  session_.in_region = true;
}

void Regions::enter(Block& block) {
  if (regions_.empty()) return;
  block.region = regions_.back().number;
  // A storage that was made empty may still be written whole in the region.
  if (block.pinned == PinReason::None || block.pinned == PinReason::Empty) {
    block.in_region = static_cast<std::int32_t>(blocks_.size());
    blocks_.push_back(&block);
  }
}

void Regions::leave(Block& block) noexcept {
  if (block.in_region < 0) return;
  blocks_[static_cast<std::size_t>(block.in_region)] = nullptr;
  block.in_region = -1;
}

void Regions::decide(Block& block, const intercept::OperatorTraits& traits,
                     c10::IntArrayRef sizes) {
  if (regions_.empty() || block.in_region < 0) return;
  const Made made{traits, layers_.name(block.layer), sizes, memory::footprint(block.bytes),
                  static_cast<std::int64_t>(block.cost_ns)};
  for (auto region = regions_.rbegin(); region != regions_.rend(); ++region) {
    if (region->selector == nullptr) continue;
    block.decision = region->selector->decide(made);
    block.chosen = false;
    if (block.decision) break;
  }
  if (block.decision) decided(block);
}

// The decision becomes part of the run's hash: a plan that was made for other rules belongs to
// another step.
void Regions::decided(const Block& block) {
  const auto policy = static_cast<std::uint64_t>(*block.decision) + 1;
  run_log_.decided(block.scope_number ^ (policy << 32));
  if (!block.saved()) return;
  for (Region& region : regions_) region.saves = true;
}

void Regions::set_policy(Block& block, CheckpointPolicy policy) {
  block.decision = policy;
  block.chosen = false;
  decided(block);
}

void Regions::choose_saved(const Region& region) {
  const bool chooses = region.selector != nullptr && region.selector->chooses();
  if (!region.saves && !chooses) return;
  std::vector<Candidate> candidates;
  for (std::size_t i = region.start; i < blocks_.size(); ++i) {
    Block* const block = blocks_[i];
    if (block == nullptr || block->kept || block->saved() || block->evictable < 0 ||
        !block->replayable()) {
      continue;
    }
    if (block->decision == CheckpointPolicy::MustRecompute) continue;
    // Oldest first, so that a storage that stays for an older one also serves the younger ones.
    if (region.saves && needs_saved(*block)) {
      block->chosen = true;
    } else if (chooses) {
      candidates.push_back({block, layers_.name(block->layer), memory::footprint(block->bytes), 0});
    }
  }
  if (candidates.empty()) return;
  for (Candidate& candidate : candidates) {
    candidate.cost_ns = restorer_.price_ns(*candidate.block);
  }
  region.selector->choose(candidates);
  for (const Candidate& candidate : candidates) {
    if (candidate.keep) candidate.block->chosen = true;
  }
}

void Regions::evict_blocks_of(const Region& region) {
  // A director decides what is evicted, except that a rule can say MustRecompute.
  const bool directed = session_.director != nullptr;
  if (!directed) choose_saved(region);
  for (std::size_t i = region.start; i < blocks_.size(); ++i) {
    Block* const block = blocks_[i];
    if (block == nullptr || std::exchange(block->kept, false) || block->saved()) continue;
    if (directed && block->decision != CheckpointPolicy::MustRecompute) continue;
    if (block->evictable >= 0 && can_go(*block)) store_.evict(*block);
  }
}

void Regions::close() {
  const Region region = regions_.back();
  try {
    if (region.evicts) evict_blocks_of(region);
  } catch (...) {  // else it would stay open for good
    abandon();
    throw;
  }
  regions_.pop_back();
  if (!regions_.empty()) return;
  session_.in_region = false;
  const std::vector<Block*> blocks = std::exchange(blocks_, {});
  for (Block* const block : blocks) {
    if (block != nullptr) block->in_region = -1;
  }
  for (Block* const block : blocks) {
    if (block != nullptr && block->residence == Residence::Resident) store_.finish(*block);
  }
}

void Regions::abandon() noexcept {
  regions_.pop_back();
  if (!regions_.empty()) return;
  session_.in_region = false;
  for (Block* const block : blocks_) {
    if (block != nullptr) block->in_region = -1;
  }
  blocks_.clear();
}

void Regions::forget_blocks() noexcept {
  blocks_.clear();
  names_.clear();
}

}  // namespace neap::engine
