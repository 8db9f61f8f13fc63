// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/lifetime.cpp: how blocks are met, held and buried; how scopes and regions begin and end.
#include "engine/engine.h"
#include "engine/materialization.h"
#include "intercept/storage_access.h"

#include <ATen/core/Tensor.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>

namespace neap::engine {
namespace {

thread_local char this_thread;  // its address names the thread

constexpr std::size_t kMostNumbers = std::size_t{1} << 20;

c10::DeleterFnPtr default_deleter() {
  static const c10::DeleterFnPtr deleter = c10::GetDefaultCPUAllocator()->raw_deleter();
  return deleter;
}

}  // namespace

Engine& Engine::instance() {
  static auto* const engine = new Engine;  // leaked: deleters run after static destruction
  return *engine;
}

Engine::Engine() : own_deleter_(memory::deleter()) {
  recipes_.set_owner(this);
  memory::set_death_hook(&Engine::on_death);
  memory::set_reclaimer(this);
}

Engine::~Engine() = default;

void Engine::set_policy(std::unique_ptr<Policy> policy) { policy_ = std::move(policy); }

bool Engine::owner_here() const noexcept {
  return owner_.load(std::memory_order_relaxed) == &this_thread;
}

// The owner is in the program's code: a death can be dealt with at once.
bool Engine::idle_here() const noexcept {
  return owner_here() && !busy_ && phase_.load(std::memory_order_relaxed) == Phase::User;
}

Engine::KernelPhase::KernelPhase(Engine& engine) noexcept
    : engine_(engine), before_(engine.phase_.load(std::memory_order_relaxed)) {
  engine_.phase_.store(Phase::Kernel, std::memory_order_release);
}

Engine::KernelPhase::~KernelPhase() {
  Phase expected = Phase::Kernel;
  while (!engine_.phase_.compare_exchange_weak(expected, before_)) {  // another thread evicts
    expected = Phase::Kernel;
    std::this_thread::yield();
  }
}

void Engine::Locks::release() noexcept {
  for (Block* const block : blocks_) {
    --block->locks;
    engine_.recipes_.release_if_unused(*block);
  }
  blocks_.clear();
}

// ---- Meeting blocks ----

Block* Engine::find(c10::StorageImpl& storage) {
  const c10::DataPtr& pointer = intercept::data_ptr_of(storage);
  const c10::DeleterFnPtr deleter = pointer.get_deleter();
  void* const context = pointer.get_context();
  if (context == nullptr) return nullptr;
  if (deleter == own_deleter_)
    return static_cast<Block*>(memory::header_of(context)->record.load());
  if (deleter == &Engine::on_evicted_death) return static_cast<Block*>(context);
  if (deleter != &Engine::on_unseen_death) return nullptr;
  const std::lock_guard lock(unseen_mutex_);
  const auto found = unseen_.find(context);
  return found == unseen_.end() ? nullptr : found->second.first;
}

Block* Engine::follow(const at::Tensor& tensor, c10::StorageImpl& storage) {
  c10::DataPtr& pointer = intercept::data_ptr_of(storage);
  void* const context = pointer.get_context();
  if (context == nullptr || intercept::has_materializer(storage)) return nullptr;
  if (pointer.get_deleter() != own_deleter_ && pointer.get_deleter() != &Engine::on_unseen_death) {
    // Memory from before install(): its deaths are ours to see from now on. Other memory is foreign.
    if (pointer.get() != context ||
        !pointer.compare_exchange_deleter(default_deleter(), &Engine::on_unseen_death)) {
      return nullptr;
    }
    memory::add_unseen(static_cast<std::int64_t>(storage.nbytes()));
  }
  // Most arrive as a view, as the transposed weight of a linear layer; then a name tells.
  const bool parameter =
      (tensor.requires_grad() && tensor.is_leaf()) || layers_.layer_of(storage) != 0;
  if (parameter && !run_log_.has_parameter()) run_log_.parameter(storage);
  return create(storage, parameter ? Given::Parameter : Given::Outside);
}

Block* Engine::create(c10::StorageImpl& storage, Given given) {
  const c10::DataPtr& pointer = intercept::data_ptr_of(storage);
  void* const data = pointer.get_context();
  const auto bytes = static_cast<std::int64_t>(storage.nbytes());
  Block* const block = recipes_.create_block(data, bytes);
  block->given = given;
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
    block->number = static_cast<std::uint32_t>(numbered_.size());
    numbered_.push_back(block);
  }
  if (given == Given::No) hold_storage(*block, storage);
  if (regions_.empty()) return block;
  block->region = regions_.back().number;
  // What is empty yet may still be written whole.
  if (given == Given::No || given == Given::Empty) {
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
  default_deleter()(data);
}

// The record goes. What the program still holds stays as it is, but for an evicted storage: that is lost.
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
  if (block.number < numbered_.size()) numbered_[block.number] = nullptr;
  if (block.in_region >= 0) region_blocks_[static_cast<std::size_t>(block.in_region)] = nullptr;
}

// ---- Deaths ----

bool Engine::on_death(void* record, void* data) noexcept {
  Engine& engine = instance();
  if (engine.idle_here()) {
    engine.bury(*static_cast<Block*>(record));
    return true;
  }
  const std::lock_guard lock(engine.deaths_mutex_);
  // The scope may have ended between the deleter's look at the record and this.
  if (memory::header_of(data)->record != record) return false;
  engine.queue_death(*static_cast<Block*>(record));
  return true;
}

void Engine::on_evicted_death(void* record) noexcept {
  Engine& engine = instance();
  if (engine.idle_here()) {
    engine.bury(*static_cast<Block*>(record));
    return;
  }
  const std::lock_guard lock(engine.deaths_mutex_);
  engine.queue_death(*static_cast<Block*>(record));
}

void Engine::on_unseen_death(void* data) noexcept {
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
      engine.bury(*block);
      return;
    }
    const std::lock_guard lock(engine.deaths_mutex_);
    engine.queue_death(*block);
    return;
  }
  memory::add_unseen(-bytes);
  default_deleter()(data);
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
    bury(*block);
    block = next;
  }
}

void Engine::bury(Block& block) {
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
    // What cannot be made again is kept for its readers; after a region, so is what would have to run twice.
    if (block.reader_count > 0 &&
        (!block.replayable() || final_when_back() || plan_.stays(block))) {
      move(block, Residence::Retained);
      finish(block);
    } else {
      free_data(block);
      move(block, Residence::Gone);
      if (block.reader_count > 0 && block.chain != nullptr) policy_->went(block);
    }
  }
  update_evictable(block);
  if (plan_.goes(block)) {
    let_go(block);
  } else if (budget_ && block.held >= 0 && !plan_.follows() && !worth_holding(block)) {
    unread_held(block);
  }
  recipes_.release_if_unused(block);
  busy_ = was_busy;
}

// ---- Scopes and regions ----

void Engine::attach() {
  if (failed_ && owner_here()) drop_failed_backward();
  if (owner_here()) {
    intercept::include(true);  // a guard of LibTorch that closed since may have put back older keys
    return;
  }
  const std::lock_guard lock(owner_mutex_);
  if (owner_.load() != nullptr) {
    process_deaths();
    if (scopes_ > 0 || !regions_.empty() || evicted_ > 0) {
      throw ScopeConflict(
          "another thread has a neap::Scope, a checkpoint() or storages that one evicted; one "
          "thread at a time can: end it there first, or train in that thread");
    }
    forget_all();
  }
  intercept::ensure_registered();
  owner_.store(&this_thread);
  intercept::set_handler(this);
  intercept::include(true);
}

void Engine::detach_if_idle() {
  if (!owner_here() || scopes_ > 0 || !regions_.empty() || evicted_ > 0) return;
  forget_all();
  const std::lock_guard lock(owner_mutex_);
  owner_.store(nullptr);
  intercept::set_handler(nullptr);
  intercept::include(false);
}

void Engine::forget_all() noexcept {
  const std::lock_guard lock(deaths_mutex_);
  for (Block* block = deaths_.exchange(nullptr); block != nullptr;) {
    Block* const next = block->next_death;
    block->dying = false;
    bury(*block);
    block = next;
  }
  recipes_.clear();
  evictable_.clear();
  held_.clear();
  hashes_.clear();
  region_blocks_.clear();
  region_numbers_.clear();
  region_count_ = 0;
  states_.clear();
  last_generator_.reset();
  policy_->reset();
  plan_.stop();
  numbered_.clear();
  section_ = 0;
  evicted_ = away_ = retained_ = 0;
}

}  // namespace neap::engine
