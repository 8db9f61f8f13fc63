// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/scopes.cpp: opens and closes scopes and regions; how the engine gets its thread, loses it,
// and forgets all blocks.
#include "engine/at_work.h"
#include "engine/engine.h"
#include "engine/explain.h"
#include "intercept/storage_access.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <utility>

namespace neap::engine {
namespace {

// State stays in the tier where it is: the next scope would only have to move it out again. Of the
// rest, what does not fit stays there, too.
void load_what_fits(Recipes& recipes, Restorer& restorer, std::span<Block* const> evicted) {
  if (evicted.empty()) return;
  Locks locks(recipes);
  for (Block* const block : recipes.blocks()) {
    if (block->alive) locks.add(*block);
  }
  for (Block* const block : evicted) {
    if (block->residence != Residence::Evicted || KnownState::is_state(*block)) continue;
    try {
      restorer.restore({&block, 1}, /*again=*/false);
    } catch (const BudgetExceeded&) {
      if (block->copy == nullptr) throw;
    }
  }
}

}  // namespace

void Engine::set_eviction_policy(std::unique_ptr<EvictionPolicy> policy) {
  session_.policy = std::move(policy);
}

void Engine::set_director(std::shared_ptr<Director> director) {
  session_.director = std::move(director);
  session_.was_directed = false;
}

void Engine::set_observer(Observer* observer) {
  const Busy busy(session_);
  if (session_.observer != nullptr) {  // the observer is told everything up to now
    deaths_.process();
    for (Block* const block : recipes_.blocks()) {
      // These blocks have no recipe, so the check destroys no record.
      if (block->pinned == PinReason::Observed) store_.check_blank(*block);
    }
  }
  session_.observer = observer;
}

// ---- Scopes ----

void Engine::open_scope(const Opening& opening) {
  const std::optional<std::int64_t> budget = opening.budget;
  memory::require_installed();
  attach();
  if (session_.scopes > 0) {
    if (budget && budget != session_.budget) {
      throw ScopeConflict("a scope of another budget is open: " +
                          (session_.budget ? Bytes(*session_.budget).text() : std::string("none")) +
                          " there, " + Bytes(*budget).text() +
                          " asked for; the budget is the process's: end the outer scope first, or "
                          "name none in the inner one");
    }
    session_.observing = session_.observing || opening.observe;
    session_.verify = session_.verify || opening.verify;
    ++session_.scopes;
    return;
  }
  if (!regions_.empty()) {
    throw ScopeConflict("a scope cannot open inside checkpoint(): open it around the checkpoint");
  }
  if (budget) {
    try {
      if (opening.offload) {
        const Busy busy(session_);
        copies_.open(*opening.offload);
        known_state_.make_room(*budget);
      }
      memory::set_budget(budget);
    } catch (...) {
      copies_.close();
      detach_if_idle();
      throw;
    }
  }
  const Busy busy(session_);
  session_.budget = budget;
  session_.observing = opening.observe;
  session_.verify = opening.verify;
  memory::reset_watermark();
  recipes_.reset_peak();
  run_log_.start(memory::usage().live);
  session_.was_directed = false;
  session_.scopes = 1;
}

void Engine::close_scope(bool completed) {
  {
    const Busy busy(session_);  // to the end, so that nothing is evicted again before it
    if (session_.scopes > 1) {
      --session_.scopes;
      return;
    }
    if (!regions_.empty()) {
      throw ScopeConflict("a scope cannot end inside a checkpoint() that was opened in it");
    }
    if (!completed || session_.failed) room_.drop_failed_backward();
    deaths_.process();
    bring_all_back();
    if (completed) remember_run();
    end_scope();
  }
  detach_if_idle();
}

// A budget that copies have made large enough is not known to work without them.
void Engine::remember_run() {
  if (copies_.is_open()) return;
  if (session_.was_directed) return run_log_.followed_plan();
  if (session_.budget) return run_log_.fitted_in(*session_.budget);
  run_log_.fitted_plain(memory::watermark());
}

void Engine::abandon_scope() noexcept {
  {
    const Busy busy(session_);
    if (session_.scopes > 1) {
      --session_.scopes;
      return;
    }
    end_scope();
  }
  detach_if_idle();
}

void Engine::end_scope() noexcept {
  session_.scopes = 0;
  session_.observing = false;
  session_.verify = false;
  room_.scope_ended();
  if (session_.failed) room_.drop_failed_backward();
  if (copies_.is_open()) known_state_.remember();
  copies_.close();
  forget_all();
  if (std::exchange(session_.budget, std::nullopt)) memory::set_budget(std::nullopt);
  memory::set_target(std::nullopt);
}

void Engine::bring_all_back() {
  const Busy busy(session_);
  std::vector<Block*> evicted;
  Locks locks(recipes_);  // also of resident blocks: nothing may be made again twice
  for (Block* const block : recipes_.blocks()) {
    const bool can_be_copied = !block->replayable() && copies_.can_copy(*block);
    if (block->alive && !can_be_copied) locks.add(*block);
    if (block->residence == Residence::Evicted) evicted.push_back(block);
  }
  // Oldest first, because later blocks are made from earlier ones.
  const auto age = [](const Block* block) {
    return block->chain != nullptr ? block->chain->node()->operator_sequence : 0;
  };
  std::ranges::sort(evicted, {}, age);
  for (Block* const block : evicted) {
    if (block->residence != Residence::Evicted || block->copy != nullptr) continue;
    if (block->replayable()) replayer_.restore({&block, 1});
  }
  load_what_fits(recipes_, replayer_, evicted);
}

// ---- The thread ----

void Engine::attach() {
  if (owner_here()) {
    const Busy busy(session_);
    if (session_.failed) room_.drop_failed_backward();
    // A guard of LibTorch that has closed since may have put back older keys.
    intercept::include(true);
    return;
  }
  if (torn_by_fork_) {
    throw Error(
        "this process was forked while another thread was inside a neap::Scope, so neap cannot "
        "work here; start it by exec or spawn, or fork in the thread of the scope");
  }
  const auto lock = session_.gate.lock_owner();
  if (session_.gate.has_owner()) {
    const bool open = session_.scopes > 0 || !regions_.empty();
    if (!open) deaths_.process();
    if (open || store_.evicted() > 0) {
      throw ScopeConflict(
          "another thread has a neap::Scope, a checkpoint() or storages that one evicted; one "
          "thread at a time can: end it there first, or train in that thread");
    }
    forget_all();
  }
  intercept::ensure_registered();
  session_.gate.own();
  if (session_.device.runs_backward_apart()) backward_thread_.emplace();
  intercept::set_handler(this);
  intercept::include(true);
}

void Engine::detach_if_idle() {
  if (!owner_here()) return;
  {
    const Busy busy(session_);
    if (session_.scopes > 0 || !regions_.empty() || store_.evicted() > 0) return;
    forget_all();
  }
  device::tracked().join_streams();
  const auto lock = session_.gate.lock_owner();
  session_.gate.disown();
  backward_thread_.reset();
  intercept::set_handler(nullptr);
  intercept::include(false);
}

// What is in the tier stays known. Nothing can make it again any more.
void Engine::forget_all() noexcept {
  const auto lock = deaths_.lock();
  deaths_.process_locked();
  pins_.forget_all();
  exposures_.forget_all();
  for (Block* const block : recipes_.blocks()) store_.cancel_load(*block);
  recipes_.clear([](const Block& block) {
    return block.alive && block.copy != nullptr && block.residence == Residence::Evicted;
  });
  store_.clear();
  for (Block* const block : recipes_.blocks()) store_.stays_copied(*block);
  regions_.forget_blocks();
  states_.clear();
  recorder_.forget_generator();
  session_.policy->reset();
  session_.stop_director();
  tracker_.clear();
}

void Engine::forget(Block& block) noexcept {
  store_.forget(block);
  tracker_.forget(block);
  regions_.leave(block);
}

void Engine::share_program_time() {
  const auto lock = session_.gate.lock_owner();
  if (session_.gate.shares_program_time()) return;
  if (session_.gate.has_owner()) {
    throw ScopeConflict(
        "neap::declare_addresses_exposed: a neap::Scope or a checkpoint() is open; call it before, "
        "at the start of the program");
  }
  session_.gate.share_program_time();
}

// ---- Regions ----

bool Engine::open_region(Selector* selector, bool evicts, const std::string& name) {
  if (!regions_.can_open(evicts)) return false;
  memory::require_installed();
  attach();
  const Busy busy(session_);
  regions_.open(selector, evicts, name);
  return true;
}

void Engine::keep(const at::Tensor& output) {
  const AtWork work(*this);
  if (c10::StorageImpl* const storage = intercept::storage_of(output)) {
    if (Block* const block = store_.find(*storage)) Regions::keep(*block);
  }
}

void Engine::close_region() {
  const Busy busy(session_);
  deaths_.process();
  regions_.close();
}

void Engine::abandon_region() noexcept {
  const Busy busy(session_);
  regions_.abandon();
}

void Engine::set_checkpoint_policy(const at::Tensor& tensor, CheckpointPolicy policy) {
  c10::StorageImpl* const storage = intercept::storage_of(tensor);
  if (storage == nullptr || !owner_here()) return;
  const Busy busy(session_);
  if (Block* const block = store_.find(*storage)) regions_.set_policy(*block, policy);
}

void Engine::name_parameter(const at::Tensor& parameter, std::string_view name) {
  if (session_.gate.has_owner() && !owner_here()) {
    throw ScopeConflict(
        "neap::name_layers: another thread has a neap::Scope or a checkpoint(); name the model "
        "before it, or in that thread");
  }
  if (c10::StorageImpl* const storage = intercept::storage_of(parameter)) {
    layers_.add(*storage, name);
    if (Block* const block = store_.find(*storage)) block->layer = layers_.layer_of(*storage);
  }
}

// ---- What is known ----

Stats Engine::stats() const {
  Stats stats = counts_.stats;
  stats.peak_bytes = memory::watermark();
  stats.budget_bytes = session_.budget.value_or(0);
  stats.recorder_bytes = recipes_.peak_bytes();
  stats.offload_peak_bytes = copies_.peak();
  stats.pinned_bytes = 0;
  for (const Block* const block : recipes_.blocks()) {
    if (block->has_data() && (!block->replayable() || block->pins > 0 ||
                              block->decision == CheckpointPolicy::MustSave)) {
      stats.pinned_bytes += block->bytes;
    }
  }
  return stats;
}

SavedReport Engine::saved_report() {
  if (!owner_here() || !(session_.is_tracking() || store_.evicted() > 0)) {
    throw Error(
        "neap::saved_report: nothing is tracked in this thread; call it inside a Scope with a "
        "budget, or one with Options::observe");
  }
  const Busy busy(session_);
  deaths_.process();
  return report_of(recipes_.blocks(), regions_.names(), layers_);
}

void Engine::validate() const {
  recipes_.validate(/*at_rest=*/session_.is_idle_here());
  store_.validate();
}

}  // namespace neap::engine
