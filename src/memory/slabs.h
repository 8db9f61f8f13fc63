// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/slabs.h: blocks of up to kLargestSmall bytes, many to a run of pages.
//
// Invariants, checked by validate():
//   a slab holds blocks of one class        used + free + never used == blocks that fit
//   a class lists just its slabs that are not full
// Threads: none; the allocator's lock is held. Cost: constant.
#pragma once

#include "memory/page_runs.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace neap::memory {

inline constexpr std::int64_t kLargestSmall = 2048;

// The bytes that a small block takes. REQUIRES: 0 < bytes <= kLargestSmall.
std::int64_t small_class_bytes(std::int64_t bytes) noexcept;

struct Slab {
  char* start = nullptr;
  std::int64_t bytes = 0;
  std::int64_t block_bytes = 0;
  std::int64_t used = 0;
  std::int64_t touched = 0;  // blocks handed out at least once; the rest were never written
  void* free = nullptr;      // blocks given back, linked through their first word
  std::size_t size_class = 0;
  Slab* previous = nullptr;  // in its class's list, while it is not full
  Slab* next = nullptr;
};

class Slabs {
 public:
  Slabs() = default;
  Slabs(const Slabs&) = delete;
  Slabs& operator=(const Slabs&) = delete;

  struct Block {
    char* start = nullptr;
    Slab* slab = nullptr;
  };
  // A free block of that class, when a slab has one. REQUIRES: `bytes` is small_class_bytes of something.
  Block take(std::int64_t bytes) noexcept;
  // The pages that take() wants when it has none.
  static std::int64_t slab_bytes(std::int64_t bytes) noexcept;
  // Makes a slab of the class of `bytes` from those pages. Throws: std::bad_alloc, and then nothing changed.
  void add(Run pages, std::int64_t bytes);
  void give_back(Slab* slab, char* start) noexcept;
  // Hands each slab without a block in use to `take_back`.
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
