// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/scopes.cpp: opens and closes scopes, and pins storages.
#include "engine/engine.h"
#include "intercept/failed_backward.h"
#include "intercept/storage_access.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

namespace neap::engine {

void Engine::open_scope(std::optional<std::int64_t> budget, bool observe) {
  memory::require_installed();
  attach();
  if (scopes_ > 0) {
    if (budget && budget != budget_) {
      throw ScopeConflict("a scope of another budget is open: " +
                          (budget_ ? Bytes(*budget_).text() : std::string("none")) + " there, " +
                          Bytes(*budget).text() +
                          " asked for; the budget is the process's: end the outer scope first, or "
                          "name none in the inner one");
    }
    observing_ = observing_ || observe;
    ++scopes_;
    return;
  }
  if (!regions_.empty()) {
    throw ScopeConflict("a scope cannot open inside checkpoint(): open it around the checkpoint");
  }
  if (budget) {
    try {
      memory::set_budget(budget);
    } catch (...) {
      detach_if_idle();
      throw;
    }
  }
  budget_ = budget;
  observing_ = observe;
  memory::reset_watermark();
  recipes_.reset_peak();
  run_log_.start(memory::usage().live);
  was_directed_ = false;
  scopes_ = 1;
}

void Engine::close_scope(bool completed) {
  if (scopes_ > 1) {
    --scopes_;
    return;
  }
  if (!regions_.empty()) {
    throw ScopeConflict("a scope cannot end inside a checkpoint() that was opened in it");
  }
  if (!completed || failed_) drop_failed_backward();
  process_deaths();
  bring_all_back();
  if (completed) remember_run();
  abandon_scope();
}

// A run that has completed is known to fit. Without a budget it fits in its peak. With a budget it
// fits in that budget and 1/32 more: what is evicted depends on measured times, and a new process
// may evict other storages where the room is only just enough.
void Engine::remember_run() {
  if (was_directed_) return run_log_.finished(std::nullopt);
  run_log_.finished(budget_ ? *budget_ + *budget_ / 32 : memory::watermark());
}

void Engine::abandon_scope() noexcept {
  if (scopes_ > 1) {
    --scopes_;
    return;
  }
  scopes_ = 0;
  observing_ = false;
  beyond_plain_ = false;
  if (failed_) drop_failed_backward();
  {
    const Busy busy(*this);
    forget_all();
  }
  if (std::exchange(budget_, std::nullopt)) memory::set_budget(std::nullopt);
  memory::set_target(std::nullopt);
  detach_if_idle();
}

// Frees the activations of a step that failed, which LibTorch's queue still holds. Called when a
// scope or region begins, when a scope ends, and when an allocation would otherwise be refused.
void Engine::drop_failed_backward() noexcept {
  failed_ = false;
  try {
    intercept::drop_failed_backward();
    process_deaths();
  } catch (const std::exception&) {
    // LibTorch can refuse a backward here, for example in a child of fork(). Its next backward
    // frees the activations.
  }
}

void Engine::bring_all_back() {
  const Busy busy(*this);
  std::vector<Block*> evicted;
  Locks locks(*this);  // also of resident blocks: nothing may be evicted to make room
  for (Block* const block : recipes_.blocks()) {
    if (block->alive) locks.add(*block);
    if (block->residence == Residence::Evicted) evicted.push_back(block);
  }
  // Oldest first, because later blocks are made from earlier ones.
  std::ranges::sort(evicted, {},
                    [](const Block* block) { return block->chain->node()->operator_sequence; });
  for (Block* const block : evicted) {
    if (block->residence == Residence::Evicted) materialize({&block, 1});
  }
}

void Engine::set_observer(Observer* observer) {
  if (observer_ != nullptr) {  // the observer is told everything up to now
    const Busy busy(*this);
    process_deaths();
    for (Block* const block : recipes_.blocks()) {
      // These blocks have no recipe, so the check destroys no record.
      if (block->pinned == PinReason::Observed) check_blank(*block);
    }
  }
  observer_ = observer;
}

Stats Engine::stats() const {
  Stats stats = stats_;
  stats.peak_bytes = memory::watermark();
  stats.budget_bytes = budget_.value_or(0);
  stats.recorder_bytes = recipes_.peak_bytes();
  stats.pinned_bytes = 0;
  for (const Block* const block : recipes_.blocks()) {
    if (block->has_data() && (!block->replayable() || block->pins > 0 ||
                              block->decision == CheckpointPolicy::MustSave)) {
      stats.pinned_bytes += block->bytes;
    }
  }
  return stats;
}

std::uint64_t Engine::pin(const at::Tensor& tensor) {
  c10::StorageImpl* const storage = intercept::storage_of(tensor);
  if (storage == nullptr || !owner_here()) return 0;
  const Busy busy(*this);
  Block* block = find(*storage);
  if (block == nullptr && storage->nbytes() > 0) block = track(tensor, *storage);
  if (block == nullptr) return 0;  // not LibTorch's memory, which is never evicted
  if (block->residence == Residence::Evicted) {
    Locks locks(*this);
    locks.add(*block);
    materialize({&block, 1});
  }
  ++block->pins;
  return tickets_;
}

void Engine::unpin(const at::Tensor& tensor) {
  c10::StorageImpl* const storage = intercept::storage_of(tensor);
  if (storage != nullptr) unpin(*storage, tickets_);
}

void Engine::unpin(c10::StorageImpl& storage, std::uint64_t ticket) {
  if (!owner_here() || ticket != tickets_) return;  // its pins went with its scope
  Block* const block = find(storage);
  if (block != nullptr && block->pins > 0) --block->pins;
}

void Engine::validate() {
  recipes_.validate();
  const auto require = [](bool holds, const char* equation) {
    if (!holds) throw std::logic_error(std::string("engine: ") + equation);
  };
  std::int64_t evicted = 0, away = 0, retained = 0;
  for (const Block* const block : recipes_.blocks()) {
    const std::int64_t taken = block->unseen ? 0 : memory::footprint(block->bytes);
    if (block->residence == Residence::Evicted) {
      ++evicted;
      away += taken;
    }
    if (block->residence == Residence::Retained) retained += taken;
    require(block->residence != Residence::Working || materializing_, "no work is left behind");
    require(block->evictable < 0 || evictable_[static_cast<std::size_t>(block->evictable)] == block,
            "a block knows its place in the list of what can go");
    require((block->held >= 0) == (block->residence == Residence::Retained && !block->replayable()),
            "what is held is in the list of it");
    require(block->held < 0 || held_[static_cast<std::size_t>(block->held)] == block,
            "a block knows its place in the list of what is held");
  }
  require(evicted == evicted_, "evicted_ counts the evicted blocks");
  require(away == away_, "away_ counts the bytes of evicted blocks");
  require(retained == retained_, "retained_ counts the bytes of retained blocks");
}

}  // namespace neap::engine
