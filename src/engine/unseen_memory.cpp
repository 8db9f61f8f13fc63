// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/unseen_memory.h"

#include "memory/allocator.h"

namespace neap::engine {

bool UnseenMemory::adopt(c10::DataPtr& pointer, std::int64_t bytes) {
  if (owns(pointer)) return true;
  if (pointer.get() != pointer.get_context() || pointer.get_deleter() != system_) return false;
  add(pointer.get_context(), nullptr, bytes);  // what may throw comes first
  static_cast<void>(pointer.compare_exchange_deleter(system_, on_death_));
  memory::add_unseen(bytes);
  return true;
}

Block* UnseenMemory::find(void* data) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(data);
  return found == entries_.end() ? nullptr : found->second.block;
}

void UnseenMemory::add(void* data, Block* block, std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  entries_[data] = {block, bytes};
}

void UnseenMemory::forget(void* data) noexcept {
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(data); found != entries_.end()) {
    found->second.block = nullptr;
  }
}

void UnseenMemory::free(void* data, std::int64_t bytes) noexcept {
  {
    const std::lock_guard lock(mutex_);
    entries_.erase(data);
  }
  memory::add_unseen(-bytes);
  system_(data);
}

Block* UnseenMemory::died(void* data) noexcept {
  std::int64_t bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = entries_.find(data); found != entries_.end()) {
      if (found->second.block != nullptr) return found->second.block;
      bytes = found->second.bytes;
      entries_.erase(found);
    }
  }
  memory::add_unseen(-bytes);
  system_(data);
  return nullptr;
}

}  // namespace neap::engine
