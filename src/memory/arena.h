// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/arena.h: pages out of large reserved ranges of addresses.
//
// A free run of pages is cached (it has been written, so the system counts it against the process) or clean
// (only addresses). Handing out a cached run costs nothing; a clean one costs its page faults: 16 MiB took 9.5 ms fresh
// against 0.31 ms warm, and 0.8 ms with huge pages, so runs of kHugeRun and more ask for those.
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
  // A run for `bytes`: cached pages as far as they fit, and at most `clean_allowed` clean ones. Nothing when that
  // is not enough; `clean_bytes` then says how many clean ones it would take. REQUIRES: bytes is whole pages.
  struct Taken {
    char* start = nullptr;
    std::int64_t clean_bytes = 0;
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

  PageRuns cached_;
  PageRuns clean_;
};

}  // namespace neap::memory
