// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/deaths.h"

#include "memory/allocator.h"

namespace neap::engine {

Deaths::Deaths(const Session& session)
    : session_(session),
      unseen_(session.device.system_allocator().raw_deleter(), &Deaths::of_unseen) {
  instance_ = this;
  memory::set_death_hook(&Deaths::of_storage);
}

bool Deaths::of_storage(void* record, void* data) noexcept {
  Deaths& deaths = *instance_;
  Block& block = *static_cast<Block*>(record);
  if (deaths.process_here(block)) return true;
  const std::lock_guard lock(deaths.mutex_);
  // The scope may have ended after the deleter looked at the record.
  if (memory::entry_of(data).record != record) return false;
  deaths.queue(block);
  return true;
}

void Deaths::of_evicted(void* record) noexcept {
  Deaths& deaths = *instance_;
  Block& block = *static_cast<Block*>(record);
  if (deaths.process_here(block)) return;
  const std::lock_guard lock(deaths.mutex_);
  deaths.queue(block);
}

void Deaths::of_unseen(void* data) noexcept {
  Deaths& deaths = *instance_;
  Block* const block = deaths.unseen_.died(data);
  if (block == nullptr || deaths.process_here(*block)) return;
  const std::lock_guard lock(deaths.mutex_);
  deaths.queue(*block);
}

bool Deaths::process_here(Block& block) noexcept {
  if (!session_.is_idle_here()) return false;
  handler_->on_death(block);
  return true;
}

void Deaths::queue(Block& block) noexcept {
  block.dying = true;
  block.next_death = queue_.load();
  queue_.store(&block);
}

void Deaths::process_queue() {
  Block* block = nullptr;
  {
    const std::lock_guard lock(mutex_);
    block = queue_.exchange(nullptr);
  }
  process_list(block);
}

void Deaths::process_locked() { process_list(queue_.exchange(nullptr)); }

void Deaths::process_list(Block* block) {
  while (block != nullptr) {
    Block* const next = block->next_death;
    block->dying = false;
    handler_->on_death(*block);
    block = next;
  }
}

}  // namespace neap::engine
