// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/slabs.h: blocks of up to kLargestSmall bytes, many in one run of pages.
//
// Invariants, checked by validate():
//   a slab holds blocks of one class        used + free + never used == blocks that fit
//   a class lists exactly its slabs that are not full
// Threads: not thread-safe; the caller holds the allocator's lock. Cost: constant.
#pragma once

#include "memory/block_map.h"
#include "memory/page_runs.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace neap::memory {

inline constexpr std::int64_t kLargestSmall = 2048;

// The bytes that a small block takes. REQUIRES: 0 < bytes <= kLargestSmall.
std::int64_t small_class_bytes(std::int64_t bytes) noexcept;

// Slab::number_of() needs this.
static_assert(kLargestSmall <= 32 * Slab::kUnit && Slab::kMostBytes <= 256 * Slab::kUnit);

class Slabs {
 public:
  Slabs() = default;
  Slabs(const Slabs&) = delete;
  Slabs& operator=(const Slabs&) = delete;

  struct Block {
    char* start = nullptr;
    Slab* slab = nullptr;
  };
  // A free block of the class; null when no slab has one. REQUIRES: `bytes` is a result of
  // small_class_bytes().
  Block take(std::int64_t bytes) noexcept;
  // The size of the run that add() needs for a class.
  static std::int64_t slab_bytes(std::int64_t bytes) noexcept;
  // Makes a slab of the class of `bytes` from `pages`. REQUIRES: BlockMap::reserve(). Throws:
  // std::bad_alloc; nothing has changed then.
  void add(Run pages, std::int64_t bytes);
  void give_back(Slab* slab, char* start) noexcept;
  // Removes each slab without a used block, and passes its pages to `take_back`.
  void remove_empty(const std::function<void(Run)>& take_back);
  // Throws: std::logic_error with the first equation that does not hold.
  void validate() const;

 private:
  static constexpr std::size_t kClasses = 20;

  void link(Slab* slab) noexcept;
  void unlink(Slab* slab) noexcept;

  std::array<Slab*, kClasses> open_{};
};

}  // namespace neap::memory
