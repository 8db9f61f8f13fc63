// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/unseen_memory.h: memory that LibTorch's own allocator gave out before install(). neap does
// not count it against the budget and never evicts it, but it tracks what operators read of it.
// Threads: any; one lock.
#pragma once

#include "engine/records.h"

#include <c10/core/Allocator.h>

#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace neap::engine {

class UnseenMemory {
 public:
  // `system`: frees memory of LibTorch's own allocator. `on_death`: what its storages call from
  // now on instead.
  UnseenMemory(c10::DeleterFnPtr system, c10::DeleterFnPtr on_death)
      : system_(system), on_death_(on_death) {}

  [[nodiscard]] bool owns(const c10::DataPtr& pointer) const noexcept {
    return pointer.get_deleter() == on_death_;
  }
  // From now on the storage reports its death. False: the memory is not of LibTorch's own
  // allocator.
  bool adopt(c10::DataPtr& pointer, std::int64_t bytes);
  // The record of the block at `data`. Null: there is none.
  [[nodiscard]] Block* find(void* data);
  void add(void* data, Block* block, std::int64_t bytes);
  // The engine forgets the block. The program still holds the data.
  void forget(void* data) noexcept;
  // Frees the data. The engine held it.
  void free(void* data, std::int64_t bytes) noexcept;
  // The program has let go of the data. Returns its block; null: the data is freed.
  Block* died(void* data) noexcept;

 private:
  struct Entry {
    Block* block = nullptr;
    std::int64_t bytes = 0;
  };
  c10::DeleterFnPtr system_;
  c10::DeleterFnPtr on_death_;
  std::unordered_map<void*, Entry> entries_;
  std::mutex mutex_;
};

}  // namespace neap::engine
