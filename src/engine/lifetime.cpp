// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/lifetime.cpp: how blocks begin and die, and how the engine gets and loses its thread.
#include "engine/engine.h"
#include "engine/explain.h"
#include "engine/materialization.h"
#include "intercept/storage_access.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

namespace neap::engine {
namespace {

constexpr std::size_t kMostNumbers = std::size_t{1} << 20;

}  // namespace

Engine& Engine::instance() {
  static auto* const engine = new Engine;  // leaked, because deleters run after static destruction
  return *engine;
}

Engine::Engine()
    : device_(device::tracked()),
      own_deleter_(memory::deleter()),
      system_deleter_(device_.system_allocator().raw_deleter()) {
  recipes_.set_owner(this);
  memory::set_death_hook(&Engine::death_hook);
  memory::set_reclaimer(this);
}

Engine::~Engine() = default;

void Engine::set_eviction_policy(std::unique_ptr<EvictionPolicy> policy) {
  policy_ = std::move(policy);
}

// True when the owner is in the program's code, so that a death can be processed at once.
bool Engine::idle_here() const noexcept { return owner_here() && !busy_ && gate_.in_user_phase(); }

void Engine::Locks::release() noexcept {
  for (Block* const block : blocks_) {
    --block->locks;
    engine_.recipes_.release_if_unused(*block);
  }
  blocks_.clear();
}

// ---- New blocks ----

Block* Engine::find(c10::StorageImpl& storage) {
  const c10::DataPtr& pointer = intercept::data_ptr_of(storage);
  const c10::DeleterFnPtr deleter = pointer.get_deleter();
  void* const context = pointer.get_context();
  if (context == nullptr) return nullptr;
  if (deleter == own_deleter_) return static_cast<Block*>(memory::entry_of(context).record.load());
  if (deleter == &Engine::evicted_death_hook) return static_cast<Block*>(context);
  if (deleter != &Engine::unseen_death_hook) return nullptr;
  const std::lock_guard lock(unseen_mutex_);
  const auto found = unseen_.find(context);
  return found == unseen_.end() ? nullptr : found->second.first;
}

Block* Engine::track(const at::Tensor& tensor, c10::StorageImpl& storage) {
  c10::DataPtr& pointer = intercept::data_ptr_of(storage);
  void* const context = pointer.get_context();
  if (context == nullptr || intercept::has_materializer(storage)) return nullptr;
  if (pointer.get_deleter() != own_deleter_ &&
      pointer.get_deleter() != &Engine::unseen_death_hook) {
    // Memory of LibTorch's own allocator, from before install(): from now on the engine sees its
    // death. All other memory is foreign.
    if (pointer.get() != context ||
        !pointer.compare_exchange_deleter(system_deleter_, &Engine::unseen_death_hook)) {
      return nullptr;
    }
    memory::add_unseen(static_cast<std::int64_t>(storage.nbytes()));
  }
  // A parameter often arrives as a view, such as the transposed weight of a linear layer. A view is
  // no leaf, but a name of its storage tells that it is a parameter.
  const bool parameter =
      (tensor.requires_grad() && tensor.is_leaf()) || layers_.layer_of(storage) != 0;
  if (parameter && !run_log_.has_parameter()) run_log_.parameter(storage);
  return create(storage, parameter ? PinReason::Parameter : PinReason::Outside);
}

Block* Engine::create(c10::StorageImpl& storage, PinReason pinned) {
  const c10::DataPtr& pointer = intercept::data_ptr_of(storage);
  void* const data = pointer.get_context();
  const auto bytes = static_cast<std::int64_t>(storage.nbytes());
  Block* const block = recipes_.create_block(data, bytes);
  block->pinned = pinned;
  block->last_use = clock_;
  if (!layers_.empty()) block->layer = layers_.layer_of(storage);
  if (pointer.get_deleter() == own_deleter_) {
    memory::set_record(data, block);
    if (storage.allocator() != &memory::allocator()) storage.set_allocator(&memory::allocator());
  } else {
    block->unseen = true;
    const std::lock_guard lock(unseen_mutex_);
    unseen_[data] = {block, bytes};
  }
  if ((budget_ || observing_) && numbered_.size() < kMostNumbers) {
    block->scope_number = static_cast<std::uint32_t>(numbered_.size());
    numbered_.push_back(block);
  }
  if (pinned == PinReason::None) hold_storage(*block, storage);
  if (regions_.empty()) return block;
  block->region = regions_.back().number;
  // A storage that was made empty may still be written whole in the region.
  if (pinned == PinReason::None || pinned == PinReason::Empty) {
    block->in_region = static_cast<std::int32_t>(region_blocks_.size());
    region_blocks_.push_back(block);
  }
  return block;
}

void Engine::hold_storage(Block& block, c10::StorageImpl& storage) {
  if (block.storage == &storage) return;
  drop_storage(block);
  c10::raw::weak_intrusive_ptr::incref(&storage);
  block.storage = &storage;
}

void Engine::drop_storage(Block& block) noexcept {
  if (block.storage == nullptr) return;
  c10::raw::weak_intrusive_ptr::decref(block.storage);
  block.storage = nullptr;
}

void Engine::free_data(Block& block) noexcept {
  void* const data = std::exchange(block.data, nullptr);
  if (data == nullptr) return;
  if (!block.unseen) {
    memory::set_record(data, nullptr);
    memory::release(data);
    return;
  }
  {
    const std::lock_guard lock(unseen_mutex_);
    unseen_.erase(data);
  }
  memory::add_unseen(-block.bytes);
  system_deleter_(data);
}

// Lets go of the data of a record: see Recipes::Owner. Data that the program holds stays as it is.
// An evicted storage is lost: later accesses throw.
void Engine::forget(Block& block) noexcept {
  switch (block.residence) {
    case Residence::Retained:
    case Residence::Working:
      free_data(block);
      break;
    case Residence::Resident:
      if (!block.unseen) {
        memory::set_record(block.data, nullptr);
      } else {
        const std::lock_guard lock(unseen_mutex_);
        unseen_[block.data].first = nullptr;
      }
      break;
    case Residence::Evicted:
      if (c10::StorageImpl* const storage = c10::raw::weak_intrusive_ptr::lock(block.storage)) {
        const auto held = c10::intrusive_ptr<c10::StorageImpl>::reclaim(storage);
        c10::DataPtr& pointer = intercept::data_ptr_of(*storage);
        if (pointer.get_context() == &block) {
          pointer.release_context();
          intercept::put_absent(*storage, nullptr, nullptr,
                                "neap had evicted this storage, and its scope ended before it "
                                "could be brought back: " +
                                    describe(block));
        }
      }
      break;
    case Residence::Gone:
      break;
  }
  drop_storage(block);
  move(block, Residence::Gone);
  block.alive = false;
  if (block.blank == Blank::Hashed) hashes_.erase(&block);
  update_evictable(block);
  if (block.scope_number < numbered_.size()) numbered_[block.scope_number] = nullptr;
  if (block.in_region >= 0) region_blocks_[static_cast<std::size_t>(block.in_region)] = nullptr;
}

// ---- Deaths ----

bool Engine::death_hook(void* record, void* data) noexcept {
  Engine& engine = instance();
  if (engine.idle_here()) {
    engine.on_death(*static_cast<Block*>(record));
    return true;
  }
  const std::lock_guard lock(engine.deaths_mutex_);
  // The scope may have ended after the deleter looked at the record.
  if (memory::entry_of(data).record != record) return false;
  engine.queue_death(*static_cast<Block*>(record));
  return true;
}

void Engine::evicted_death_hook(void* record) noexcept {
  Engine& engine = instance();
  if (engine.idle_here()) {
    engine.on_death(*static_cast<Block*>(record));
    return;
  }
  const std::lock_guard lock(engine.deaths_mutex_);
  engine.queue_death(*static_cast<Block*>(record));
}

void Engine::unseen_death_hook(void* data) noexcept {
  Engine& engine = instance();
  Block* block = nullptr;
  std::int64_t bytes = 0;
  {
    const std::lock_guard lock(engine.unseen_mutex_);
    const auto found = engine.unseen_.find(data);
    if (found != engine.unseen_.end()) {
      std::tie(block, bytes) = found->second;
      if (block == nullptr) engine.unseen_.erase(found);
    }
  }
  if (block != nullptr) {
    if (engine.idle_here()) {
      engine.on_death(*block);
      return;
    }
    const std::lock_guard lock(engine.deaths_mutex_);
    engine.queue_death(*block);
    return;
  }
  memory::add_unseen(-bytes);
  engine.system_deleter_(data);
}

void Engine::queue_death(Block& block) noexcept {
  block.dying = true;
  block.next_death = deaths_.load();
  deaths_.store(&block);
}

void Engine::process_deaths() {
  Block* block = nullptr;
  {
    const std::lock_guard lock(deaths_mutex_);
    block = deaths_.exchange(nullptr);
  }
  while (block != nullptr) {
    Block* const next = block->next_death;
    block->dying = false;
    on_death(*block);
    block = next;
  }
}

void Engine::on_death(Block& block) {
  const bool was_busy = std::exchange(busy_, true);
  if (block.reader_count > 0 || observer_ != nullptr) check_blank(block);
  if (observer_ != nullptr) observer_->released(block);
  block.alive = false;
  drop_storage(block);
  if (block.in_region >= 0) {
    region_blocks_[static_cast<std::size_t>(block.in_region)] = nullptr;
    block.in_region = -1;
  }
  if (block.residence == Residence::Evicted) {
    move(block, Residence::Gone);
  } else if (block.residence == Residence::Resident) {
    if (!block.unseen) memory::set_record(block.data, nullptr);
    // Data that cannot be made again is kept for its readers. Without a budget and outside of
    // regions, all data is kept, so that no operator is replayed twice. A director can keep it too.
    if (block.reader_count > 0 &&
        (!block.replayable() || is_final_when_restored() || director_keeps(block))) {
      move(block, Residence::Retained);
      finish(block);
    } else {
      free_data(block);
      move(block, Residence::Gone);
      if (block.reader_count > 0 && block.chain != nullptr) policy_->on_evict(block);
    }
  }
  update_evictable(block);
  if (director_frees(block)) {
    release_content(block);
  } else if (budget_ && block.held >= 0 && !director_ && !is_worth_holding(block)) {
    release_from_readers(block);
  }
  recipes_.release_if_unused(block);
  busy_ = was_busy;
}

// ---- Scopes and regions ----

void Engine::attach() {
  if (failed_ && owner_here()) drop_failed_backward();
  if (owner_here()) {
    // A guard of LibTorch that has closed since may have put back older keys.
    intercept::include(true);
    return;
  }
  const auto lock = gate_.lock_owner();
  if (gate_.has_owner()) {
    process_deaths();
    if (scopes_ > 0 || !regions_.empty() || evicted_ > 0) {
      throw ScopeConflict(
          "another thread has a neap::Scope, a checkpoint() or storages that one evicted; one "
          "thread at a time can: end it there first, or train in that thread");
    }
    forget_all();
  }
  intercept::ensure_registered();
  gate_.own();
  if (device_.runs_backward_apart()) backward_thread_.emplace();
  intercept::set_handler(this);
  intercept::include(true);
}

void Engine::detach_if_idle() {
  if (!owner_here() || scopes_ > 0 || !regions_.empty() || evicted_ > 0) return;
  forget_all();
  const auto lock = gate_.lock_owner();
  gate_.disown();
  backward_thread_.reset();
  intercept::set_handler(nullptr);
  intercept::include(false);
}

void Engine::forget_all() noexcept {
  const std::lock_guard lock(deaths_mutex_);
  for (Block* block = deaths_.exchange(nullptr); block != nullptr;) {
    Block* const next = block->next_death;
    block->dying = false;
    on_death(*block);
    block = next;
  }
  ++tickets_;
  recipes_.clear();
  evictable_.clear();
  held_.clear();
  hashes_.clear();
  region_blocks_.clear();
  region_names_.clear();
  states_.clear();
  last_generator_.reset();
  policy_->reset();
  stop_director();
  numbered_.clear();
  section_ = 0;
  evicted_ = away_ = retained_ = 0;
}

}  // namespace neap::engine
