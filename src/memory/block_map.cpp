// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/block_map.h"

#include <cstdlib>
#include <new>

namespace neap::memory {

void BlockMap::reserve(const char* start, std::int64_t bytes) {
  const auto first = reinterpret_cast<std::uintptr_t>(start) >> kRegionBits;
  const auto last =
      (reinterpret_cast<std::uintptr_t>(start) + static_cast<std::uintptr_t>(bytes) - 1) >>
      kRegionBits;
  for (std::uintptr_t region = first; region <= last; ++region) {
    if (tables_[region].load(std::memory_order_relaxed) != nullptr) continue;
    // Zeros, as a new entry is: calloc takes fresh pages of the system, which cost nothing until
    // they are written. Never freed: addresses are not returned either.
    static_assert(alignof(BlockEntry) <= 64);
    void* const table = std::calloc(kPages + 1, sizeof(BlockEntry));
    if (table == nullptr) throw std::bad_alloc();
    const auto aligned = (reinterpret_cast<std::uintptr_t>(table) + alignof(BlockEntry) - 1) /
                         alignof(BlockEntry) * alignof(BlockEntry);
    tables_[region].store(reinterpret_cast<BlockEntry*>(aligned), std::memory_order_release);
  }
}

void BlockMap::set_slab(const char* start, std::int64_t bytes, Slab* slab) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(start);
  const std::uintptr_t end = begin + static_cast<std::uintptr_t>(bytes);
  for (std::uintptr_t page = begin; page < end; page += std::uintptr_t{1} << kPageBits) {
    page_of(page).slab = slab;
  }
}

}  // namespace neap::memory
