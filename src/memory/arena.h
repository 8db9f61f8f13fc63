// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/arena.h: pages out of large reserved ranges of addresses.
//
// A free run of pages is cached (it has been written, so the system counts it against the process) or clean
// (only addresses). Handing out a cached run costs nothing; a clean one costs its page faults: 16 MiB took 9.5 ms fresh
// against 0.31 ms warm, and 0.8 ms with huge pages, so runs of kHugeRun and more ask for those.
//
// Note [Moving]
// Under a budget the pages for a clean run must come from cached ones, which lie elsewhere in pieces that are too small. To
// give those back to the system and fault in others cost 2.0 ms for 4 MiB; mremap moves them to the new addresses in 6 us. What
// cannot be moved (older kernels, a piece that the system keeps in several mappings) is given back and faulted in.
//
// Addresses are never given back. Holes in them cost no memory, so fragmentation cannot pass a budget.
// Threads: none; the allocator's lock is held.
#pragma once

#include "memory/page_runs.h"

#include <cstdint>
#include <optional>

namespace neap::memory {

inline constexpr std::int64_t kPageBytes = 4096;
inline constexpr std::int64_t kHugePageBytes = std::int64_t{2} << 20;
inline constexpr std::int64_t kHugeRun = 2 * kHugePageBytes;

class Arena {
 public:
  // A run for `bytes`: cached pages as far as they fit or can be moved, and at most `clean_allowed` clean ones. Nothing
  // when that is not enough; `clean_bytes` then says how many clean ones it would take. REQUIRES: bytes is whole pages.
  struct Taken {
    char* start = nullptr;
    std::int64_t clean_bytes = 0;  // below 0: so many were given back
  };
  Taken take(std::int64_t bytes, std::int64_t clean_allowed);
  // The run goes to the cached ones.
  void give_back(Run run) { cached_.insert(run); }
  // Returns at least `bytes` of cached pages to the system, or all there are. Returns how many.
  std::int64_t trim(std::int64_t bytes) noexcept;

  [[nodiscard]] std::int64_t cached() const { return cached_.total(); }
  void validate() const;

 private:
  bool reserve_addresses(std::int64_t bytes);
  // `bytes` from `start` on are clean: the first `moved` of them get cached pages, the rest are about to be faulted in. Returns
  // the bytes that it gave back to the system besides.
  std::int64_t make_resident(char* start, std::int64_t bytes, std::int64_t moved);
  void make_clean(Run run);

  PageRuns cached_;
  PageRuns clean_;
  int pieces_ = 0;  // mappings that moves may have made
};

}  // namespace neap::memory
