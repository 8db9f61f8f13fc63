// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/regions.cpp: regions, and what stays when one closes.
//
// Note [Selection]
// The innermost region that has something to say decides for each storage as it is made; tag() beats it later. When a
// region closes, what is alive and not to be saved goes. Two things are looked at before:
//   * A storage to be saved may be dead by then: nobody saved it for the backward (the product below a softmax, say). To hold
//     it all the same would take more memory than no checkpoint at all. What is alive and would need it stays instead, so
//     that its operator does not run again either. No more stays than was alive, whatever the rules say.
//   * What nobody has decided is offered to the region's selector, with the cost of bringing it back: all operators
//     between it and what stays.
#include "engine/call.h"
#include "engine/engine.h"
#include "intercept/storage_access.h"

#include <ATen/core/Tensor.h>

#include <unordered_set>

namespace neap::engine {
namespace {

// Regions with a name are numbered from here on, one number a name.
constexpr std::uint32_t kNamedRegion = std::uint32_t{1} << 31;

// Visits each storage that is gone and would have to be made again for `block`, once.
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

// Some operator whose result is to be saved would run again for `block`, and for nothing else: where a full budget took the result
// from the program, it comes back anyway.
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
    return false;  // who watches wants to see the step as it is without
  }
  if (!evicts && regions_.empty()) return false;
  memory::require_installed();
  attach();
  std::uint32_t number = 0;
  if (name.empty()) {
    number = ++region_count_ % kNamedRegion;
  } else {
    const auto [known, added] = region_numbers_.try_emplace(
        name, kNamedRegion + static_cast<std::uint32_t>(region_numbers_.size()));
    number = known->second;
  }
  regions_.push_back({selector, region_blocks_.size(), number, evicts});
  return true;
}

std::string Engine::region_name(std::uint32_t number) const {
  if (number == 0) return "";
  if (number < kNamedRegion) return "checkpoint " + std::to_string(number);
  for (const auto& [name, known] : region_numbers_) {
    if (known == number) return name;
  }
  return "";
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
    if (block.decision != Decision::Open) break;
  }
  if (block.decision != Decision::Open) decided(block);
}

// A plan made for other rules is another step's.
void Engine::decided(const Block& block) {
  run_log_.decided(block.number ^ (std::uint64_t{static_cast<std::uint8_t>(block.decision)} << 32));
  if (!block.saved()) return;
  for (Region& region : regions_) region.saves = true;
}

void Engine::tag(const at::Tensor& tensor, Decision decision) {
  c10::StorageImpl* const storage = intercept::storage_of(tensor);
  if (storage == nullptr || !owner_here()) return;
  Block* const block = find(*storage);
  if (block == nullptr) return;
  block->decision = decision;
  decided(*block);
}

void Engine::name_parameter(const at::Tensor& parameter, std::string_view name) {
  if (owner_.load() != nullptr && !owner_here()) {
    throw ScopeConflict(
        "neap::name: another thread has a neap::Scope or a checkpoint(); name the model before it, "
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
    if (block->decision == Decision::MustRecompute) continue;
    // Oldest first, so that what stays for an older one is there for the younger.
    if (region.saves && needs_saved(*block)) {
      block->decision = Decision::Chosen;
    } else if (chooses) {
      candidates.push_back({block, layers_.name(block->layer), memory::footprint(block->bytes), 0});
    }
  }
  if (candidates.empty()) return;
  for (Candidate& candidate : candidates)
    candidate.cost_ns = cost_of_making_again(*candidate.block);
  region.selector->choose(candidates);
  for (const Candidate& candidate : candidates) {
    if (candidate.keep) candidate.block->decision = Decision::Chosen;
  }
}

void Engine::close_region() {
  const Busy busy(*this);
  process_deaths();
  const Region region = regions_.back();
  if (region.evicts) {
    // What goes is the plan's to say, but for what a rule says must go.
    const bool planned = plan_.follows();
    if (!planned) choose_saved(region);
    for (std::size_t i = region.start; i < region_blocks_.size(); ++i) {
      Block* const block = region_blocks_[i];
      if (block == nullptr || std::exchange(block->kept, false) || block->saved()) continue;
      if (planned && block->decision != Decision::MustRecompute) continue;
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
