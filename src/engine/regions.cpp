// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/regions.cpp: regions, and what stays in memory when one closes.
//
// Note [Selection]
// For each storage, as it is made, the innermost region that has a rule for it decides. A later
// set_checkpoint_policy() overrides this decision. When a region closes, the blocks that are alive
// and not to be saved are evicted. Two things are checked before:
//   * A storage that is to be saved may be dead by then, because nobody saved it for the backward
//     (the product below a softmax, for example). To hold it anyway could take more memory than no
//     checkpoint at all. So the living storages that would need it stay instead, and its operator
//     is not replayed either. Whatever the rules say, only storages that were alive stay.
//   * What no rule has decided is offered to the region's selector, with the cost of making it
//     again: the time of all operators between it and what stays.
#include "engine/call.h"
#include "engine/engine.h"
#include "intercept/storage_access.h"

#include <ATen/core/Tensor.h>

#include <unordered_set>

namespace neap::engine {
namespace {

// Calls `visit` once for each storage without data that would have to be made again for `block`.
template <class Visit>
void for_each_gone_ancestor(Block& block, Visit visit) {
  std::vector<Block*> search = {&block};
  std::unordered_set<const Block*> known = {&block};
  while (!search.empty()) {
    Block& next = *search.back();
    search.pop_back();
    for (Write* write = next.chain; write != nullptr; write = write->previous) {
      for (const Read& read : write->node()->reads()) {
        if (read.block->has_data() || !known.insert(read.block).second) continue;
        visit(*read.block);
        search.push_back(read.block);
      }
      if (write->whole) break;
    }
  }
}

// True when `block` cannot be made again without replaying an operator whose result is to be saved
// and is dead. If that result is alive, it was evicted because the budget was full, and it is
// restored anyway.
bool needs_saved(Block& block) {
  bool needs = false;
  for_each_gone_ancestor(
      block, [&](const Block& gone) { needs = needs || (gone.saved() && !gone.alive); });
  return needs;
}

double cost_of_making_again(Block& block) {
  auto cost = static_cast<double>(block.cost_ns);
  for_each_gone_ancestor(block, [&](const Block& gone) { cost += gone.cost_ns; });
  return cost;
}

}  // namespace

bool Engine::open_region(Selector* selector, bool evicts, const std::string& name) {
  if (observer_ != nullptr && only_observing()) {
    return false;  // an observer is to see the step as it is without regions
  }
  if (!evicts && regions_.empty()) return false;
  memory::require_installed();
  attach();
  regions_.push_back({selector, region_blocks_.size(), region_names_.number(name), evicts});
  return true;
}

void Engine::keep(const at::Tensor& output) {
  if (c10::StorageImpl* const storage = intercept::storage_of(output)) {
    if (Block* const block = find(*storage)) block->kept = true;
  }
}

void Engine::decide(const Call& call, Block& block, c10::IntArrayRef sizes) {
  if (regions_.empty() || block.in_region < 0) return;
  const Made made{call.traits, layers_.name(block.layer), sizes, memory::footprint(block.bytes),
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
void Engine::decided(const Block& block) {
  const auto policy = static_cast<std::uint64_t>(*block.decision) + 1;
  run_log_.decided(block.scope_number ^ (policy << 32));
  if (!block.saved()) return;
  for (Region& region : regions_) region.saves = true;
}

void Engine::set_checkpoint_policy(const at::Tensor& tensor, CheckpointPolicy policy) {
  c10::StorageImpl* const storage = intercept::storage_of(tensor);
  if (storage == nullptr || !owner_here()) return;
  Block* const block = find(*storage);
  if (block == nullptr) return;
  block->decision = policy;
  block->chosen = false;
  decided(*block);
}

void Engine::name_parameter(const at::Tensor& parameter, std::string_view name) {
  if (gate_.has_owner() && !owner_here()) {
    throw ScopeConflict(
        "neap::name_layers: another thread has a neap::Scope or a checkpoint(); name the model "
        "before it, "
        "or in that thread");
  }
  if (c10::StorageImpl* const storage = intercept::storage_of(parameter)) {
    layers_.add(*storage, name);
    if (Block* const block = find(*storage)) block->layer = layers_.layer_of(*storage);
  }
}

void Engine::choose_saved(const Region& region) {
  const bool chooses = region.selector != nullptr && region.selector->chooses();
  if (!region.saves && !chooses) return;
  std::vector<Candidate> candidates;
  for (std::size_t i = region.start; i < region_blocks_.size(); ++i) {
    Block* const block = region_blocks_[i];
    if (block == nullptr || block->kept || block->saved() || block->evictable < 0) continue;
    if (block->decision == CheckpointPolicy::MustRecompute) continue;
    // Oldest first, so that a storage that stays for an older one also serves the younger ones.
    if (region.saves && needs_saved(*block)) {
      block->chosen = true;
    } else if (chooses) {
      candidates.push_back({block, layers_.name(block->layer), memory::footprint(block->bytes), 0});
    }
  }
  if (candidates.empty()) return;
  for (Candidate& candidate : candidates)
    candidate.cost_ns = cost_of_making_again(*candidate.block);
  region.selector->choose(candidates);
  for (const Candidate& candidate : candidates) {
    if (candidate.keep) candidate.block->chosen = true;
  }
}

void Engine::close_region() {
  const Busy busy(*this);
  process_deaths();
  const Region region = regions_.back();
  if (region.evicts) {
    // A director decides what is evicted, except that a rule can say MustRecompute.
    const bool directed = director_ != nullptr;
    if (!directed) choose_saved(region);
    for (std::size_t i = region.start; i < region_blocks_.size(); ++i) {
      Block* const block = region_blocks_[i];
      if (block == nullptr || std::exchange(block->kept, false) || block->saved()) continue;
      if (directed && block->decision != CheckpointPolicy::MustRecompute) continue;
      if (block->evictable >= 0 && can_go(*block)) evict(*block);
    }
  }
  regions_.pop_back();
  if (!regions_.empty()) return;
  const std::vector<Block*> blocks = std::exchange(region_blocks_, {});
  for (Block* const block : blocks) {
    if (block != nullptr) block->in_region = -1;
  }
  for (Block* const block : blocks) {
    if (block != nullptr && block->residence == Residence::Resident) finish(*block);
  }
}

void Engine::abandon_region() noexcept {
  regions_.pop_back();
  if (!regions_.empty()) return;
  for (Block* const block : region_blocks_) {
    if (block != nullptr) block->in_region = -1;
  }
  region_blocks_.clear();
}

}  // namespace neap::engine
