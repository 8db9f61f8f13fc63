// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/eviction.cpp: evicts storages, puts restored memory back, and makes room when the budget
// is full.
#include "engine/engine.h"
#include "engine/explain.h"
#include "intercept/storage_access.h"

#include <algorithm>
#include <optional>

namespace neap::engine {
namespace {

// Puts the block into the list, or takes it out. `place` is the member that holds its index there;
// -1: not in the list.
void enlist(std::vector<Block*>& list, Block& block, std::int32_t Block::*place, bool in) {
  if (in == (block.*place >= 0)) return;
  if (in) {
    block.*place = static_cast<std::int32_t>(list.size());
    list.push_back(&block);
    return;
  }
  Block* const last = list.back();
  list[static_cast<std::size_t>(block.*place)] = last;
  last->*place = block.*place;
  list.pop_back();
  block.*place = -1;
}

}  // namespace

// Both lists are for blocks with data. evictable_ has each block that can be made again, if it is
// retained, or if it is resident and not small: programs read small storages through raw pointers.
// held_ has each retained block that cannot be made again.
void Engine::update_evictable(Block& block) {
  const bool retained = block.residence == Residence::Retained;
  const bool in_storage = block.residence == Residence::Resident && block.alive &&
                          block.storage != nullptr && block.bytes >= kSmallest;
  enlist(evictable_, block, &Block::evictable, (retained || in_storage) && block.replayable());
  enlist(held_, block, &Block::held, retained && !block.replayable());
}

// The operator that has just run made the block's content from no tensor, or with grad mode off.
void Engine::mark_blank(Block& block) {
  block.blank = Blank::Hashed;
  block.blank_version = block.version;
  hashes_[&block] = device_.hash_of(block.data, static_cast<std::size_t>(block.bytes));
}

// See Note [Blanks].
void Engine::check_blank(Block& block) {
  if (block.blank == Blank::No || block.version != block.blank_version || !block.has_data()) return;
  const auto size = static_cast<std::size_t>(block.bytes);
  if (block.blank == Blank::Zeros ? device_.is_zero(block.data, size)
                                  : hashes_.at(&block) == device_.hash_of(block.data, size)) {
    return;
  }
  if (block.blank == Blank::Hashed) hashes_.erase(&block);
  block.blank = Blank::No;
  pin_for_good(block, PinReason::Factory);
  if (observer_ != nullptr) observer_->not_replayable(block);
}

std::int64_t Engine::evict(Block& block) {
  check_blank(block);
  if (!block.replayable()) return 0;
  if (block.residence == Residence::Retained) {
    const std::int64_t taken = memory::entry_of(block.data).taken;
    free_data(block);
    move(block, Residence::Gone);
    note_eviction(block, taken);
    return taken;
  }
  c10::StorageImpl* const storage = c10::raw::weak_intrusive_ptr::lock(block.storage);
  if (storage == nullptr) return 0;
  const auto held = c10::intrusive_ptr<c10::StorageImpl>::reclaim(storage);
  c10::DataPtr& pointer = intercept::data_ptr_of(*storage);
  // The program may have moved the memory, or shared it copy on write. Then it cannot be taken.
  if (pointer.get_deleter() != own_deleter_ || pointer.get_context() != block.data ||
      intercept::has_materializer(*storage)) {
    return 0;
  }
  std::string message =
      "neap has evicted this storage: " + describe(block) +
      ". An operator in the thread of the scope brings it back; raw access, and what "
      "other threads do, does not. Keep it in memory with neap::pin(tensor), called "
      "in the thread of the scope, before";
  void* const data = pointer.release_context();
  const std::int64_t taken = memory::entry_of(data).taken;
  intercept::put_absent(*storage, &block, &Engine::evicted_death_hook, std::move(message));
  memory::set_record(data, nullptr);
  memory::release(data);
  block.data = nullptr;
  move(block, Residence::Evicted);
  note_eviction(block, taken);
  return taken;
}

void Engine::note_eviction(Block& block, std::int64_t taken) {
  update_evictable(block);
  policy_->on_evict(block);
  ++stats_.evictions;
  stats_.evicted_bytes += taken;
}

// Every change of a residence goes through here, except a block's first.
void Engine::move(Block& block, Residence to) noexcept {
  const auto count = [&](Residence where, std::int64_t sign) {
    if (where != Residence::Evicted && where != Residence::Retained) return;
    const std::int64_t taken = block.unseen ? 0 : memory::footprint(block.bytes);
    if (where == Residence::Retained) {
      retained_ += sign * taken;
    } else {
      evicted_ += sign;
      away_ += sign * taken;
    }
  };
  count(std::exchange(block.residence, to), -1);
  count(to, 1);
}

bool Engine::put_into_storage(Block& block) {
  c10::StorageImpl* const storage = c10::raw::weak_intrusive_ptr::lock(block.storage);
  if (storage == nullptr) return false;
  const auto held = c10::intrusive_ptr<c10::StorageImpl>::reclaim(storage);
  c10::DataPtr& pointer = intercept::data_ptr_of(*storage);
  if (pointer.get_context() != &block) return false;
  pointer.release_context();  // otherwise replacing the pointer would report the block's death
  intercept::put_back(*storage,
                      c10::DataPtr(block.data, block.data, own_deleter_, device_.where()));
  memory::set_record(block.data, &block);
  move(block, Residence::Resident);
  block.last_use = clock_;
  update_evictable(block);
  policy_->on_restore(block);
  return true;
}

void Engine::pin_for_good(Block& block, PinReason why) {
  recipes_.pin_for_good(block, why);
  update_evictable(block);
}

void Engine::finish(Block& block) {
  if (!is_final_when_restored() || block.chain == nullptr || !block.has_data()) return;
  for (const Read* read = block.readers; read != nullptr; read = read->next) {
    if (read->version != block.version) return;  // these readers still need the chain
  }
  ++block.locks;  // pin_for_good() may destroy the last readers of this block
  pin_for_good(block, PinReason::Final);
  --block.locks;
}

// Frees at least `bytes`, if possible. Returns the bytes freed. See Note [What is held].
std::int64_t Engine::make_room(std::int64_t bytes) {
  std::int64_t freed = 0;
  while (freed < bytes) {
    // Plain LibTorch would hold the evicted storages, and not the retained ones.
    beyond_plain_ = beyond_plain_ || away_ + bytes - freed > retained_;
    if (!beyond_plain_) {
      const std::int64_t released = release_held();
      freed += released;
      if (released > 0) continue;
    }
    Block* const victim = policy_->choose(evictable_, clock_);
    if (victim == nullptr) break;
    const std::int64_t got = evict(*victim);
    if (got == 0 && victim->replayable()) {  // it cannot be taken, now or later
      victim->opaque = true;
      update_evictable(*victim);
    }
    freed += got;
  }
  if (director_) director_->fell_short(bytes, freed);
  return freed;
}

std::int64_t Engine::evict_all() {
  std::int64_t freed = 0;
  // Backwards, because the last block takes the place of an evicted one.
  for (std::size_t i = evictable_.size(); i-- > 0;) {
    if (can_go(*evictable_[i])) freed += evict(*evictable_[i]);
  }
  return freed;
}

std::int64_t Engine::reclaim(std::int64_t bytes) {
  if (!owner_here()) {
    return gate_.evict_for_another(bytes, [this](std::int64_t wanted) {
      const Reclaiming reclaiming(*this);
      return make_room(wanted);
    });
  }
  const Timed own(*this, &Stats::bookkeeping_ns);
  const Busy busy(*this);
  const Gate::Eviction evicting(gate_);
  const Reclaiming reclaiming(*this);
  const auto freed_by = [](const auto& work) {
    const std::int64_t before = memory::usage().live;
    work();
    return std::max<std::int64_t>(0, before - memory::usage().live);
  };
  std::int64_t freed = 0;
  if (!materializing_ && deaths_.load() != nullptr) freed = freed_by([this] { process_deaths(); });
  if (freed < bytes) freed += make_room(bytes - freed);
  if (freed == 0) freed = release_held();
  if (freed == 0 && !materializing_) freed = freed_by([this] { drop_failed_backward(); });
  return freed;
}

bool Engine::begin_wait() noexcept { return owner_here() && !busy_ && gate_.begin_wait(); }

void Engine::end_wait() noexcept { gate_.end_wait(); }

void Engine::refuse(std::int64_t need, std::int64_t in_use, std::int64_t budget) {
  const bool here = owner_here();
  const Refusal refusal{need, in_use, budget, here ? run_log_.smallest_feasible(budget) : 0,
                        here ? running_ : nullptr};
  BudgetExceeded error(
      here ? text_of(refusal, recipes_.blocks()) : text_for_another_thread(refusal), Bytes(need),
      Bytes(in_use), Bytes(budget), Bytes(refusal.feasible));
  if (here) {
    error.saved =
        std::make_shared<SavedReport>(report_of(recipes_.blocks(), region_names_, layers_));
  }
  throw error;
}

SavedReport Engine::saved_report() {
  if (!owner_here() || !(is_tracking() || evicted_ > 0)) {
    throw Error(
        "neap::saved_report: nothing is followed in this thread; call it inside a Scope with a "
        "budget, or one with Options::observe");
  }
  const Busy busy(*this);
  process_deaths();
  return report_of(recipes_.blocks(), region_names_, layers_);
}

}  // namespace neap::engine
