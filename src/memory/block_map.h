// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/block_map.h: from the data of a block to what is known of it. It is kept beside the data,
// since the host cannot write into the memory of every device.
//
// Note [Block map]
// Addresses are divided into regions of 1 GiB. A region has a table with an entry for each of its
// pages, which takes memory only where it is used: at most 1/64 of the addresses in use. The entry
// of a block's first page is that of the block. The entries of a slab's pages name the slab, which
// has the entries of its blocks. So a look-up takes two loads, and for small blocks two more and a
// multiplication.
// Threads: find() from any thread without a lock, for blocks that are in use; the rest with the
// allocator's lock. An entry stays where it is.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace neap::memory {

struct Slab;

struct alignas(64) BlockEntry {
  std::atomic<void*> record{nullptr};  // the engine's, or null; read by deleters in any thread
  std::int64_t requested = 0;          // bytes that were requested
  std::int64_t taken = 0;              // bytes that count as live: rounded
  std::int64_t allocation_serial = 0;  // number of blocks handed out before this one
  Slab* slab = nullptr;                // the slab of a small block; null for other blocks
  std::int32_t next_free = -1;         // the next free block of the slab; -1: none
  bool used = false;
};
static_assert(sizeof(BlockEntry) == 64);

// Blocks of up to kLargestSmall bytes, many in one run of pages. Their size is a multiple of 64
// bytes.
struct Slab {
  static constexpr std::uint32_t kUnit = 64;         // bytes
  static constexpr std::int64_t kMostBytes = 16384;  // of a slab

  Slab(char* its_start, std::int64_t its_bytes, std::int64_t bytes_each)
      : start(its_start),
        bytes(its_bytes),
        block_bytes(bytes_each),
        blocks(its_bytes / bytes_each),
        inverse(static_cast<std::uint32_t>(((1 << 16) + bytes_each / kUnit - 1) /
                                           (bytes_each / kUnit))) {}

  char* start;
  std::int64_t bytes;
  std::int64_t block_bytes;
  std::int64_t blocks;    // how many there are
  std::uint32_t inverse;  // 2^16 / (block_bytes / kUnit), rounded up
  std::int64_t used = 0;
  std::int64_t touched = 0;  // blocks handed out at least once; the others were never written
  std::int32_t free = -1;    // the first freed block, by its number
  std::size_t size_class = 0;
  Slab* previous = nullptr;  // in the list of its class, while it is not full
  Slab* next = nullptr;
  std::unique_ptr<BlockEntry[]> entries;  // by number

  // The number of the block in which `data` lies. A product instead of a division, which takes
  // longer than the rest of a look-up. It is exact, because a slab has at most 2^8 units and a
  // block at most 2^5: rounding the inverse up adds less than 2^-8 to the quotient.
  [[nodiscard]] std::int32_t number_of(const void* data) const {
    const auto offset = static_cast<std::uint32_t>(static_cast<const char*>(data) - start);
    return static_cast<std::int32_t>(offset / kUnit * inverse >> 16);
  }
};

class BlockMap {
 public:
  // REQUIRES: `data` is that of a block in use.
  static BlockEntry& find(const void* data) noexcept {
    BlockEntry& page = page_of(reinterpret_cast<std::uintptr_t>(data));
    return page.slab == nullptr ? page : page.slab->entries[page.slab->number_of(data)];
  }
  // Makes the tables for these pages. Throws: std::bad_alloc.
  static void reserve(const char* start, std::int64_t bytes);
  // From now on, and until `slab` is null, the pages are those of a slab. REQUIRES: reserve().
  static void set_slab(const char* start, std::int64_t bytes, Slab* slab) noexcept;

 private:
  static constexpr unsigned kPageBits = 12, kRegionBits = 30, kAddressBits = 48;
  static constexpr std::size_t kPages = std::size_t{1} << (kRegionBits - kPageBits);

  static BlockEntry& page_of(std::uintptr_t address) noexcept {
    BlockEntry* const table = tables_[address >> kRegionBits].load(std::memory_order_relaxed);
    return table[(address >> kPageBits) & (kPages - 1)];
  }

  // By region. 2 MiB of addresses, of which few are ever written.
  static inline std::atomic<BlockEntry*> tables_[std::size_t{1} << (kAddressBits - kRegionBits)];
};

}  // namespace neap::memory
