// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// memory/arena.h: runs of pages from large reserved address ranges.
//
// A free run of pages is cached (written before, so that the system counts it for the process) or
// clean (addresses only). A cached run costs nothing to hand out. A clean one costs its page
// faults: on the CPU, 16 MiB took 9.5 ms fresh, 0.31 ms warm, and 0.8 ms with huge pages.
//
// Note [Moving]
// Under a budget, the pages for a clean run must come from cached runs, which may be elsewhere, in
// pieces that are too small. Returning those to the system and faulting in others cost 2.0 ms for 4
// MiB. mremap moves them to the new addresses in 6 us. What cannot be moved (older kernels, a piece
// that the system keeps in several mappings) is returned and faulted in.
//
// Addresses are never returned. Holes in them cost no memory, so fragmentation cannot exceed a
// budget.
// Threads: not thread-safe; the caller holds the allocator's lock.
#pragma once

#include "device/pages.h"
#include "memory/page_runs.h"
#include "memory/run_nodes.h"

#include <cstdint>
#include <optional>

namespace neap::memory {

inline constexpr std::int64_t kPageBytes = 4096;

class Arena {
 public:
  explicit Arena(device::Pages& pages) : pages_(pages) {}

  // Takes a run of `bytes`: from cached pages as far as they fit or can be moved, plus at most
  // `clean_allowed` clean ones. When that is not enough, `start` is null and `clean_bytes` is the
  // number of clean bytes needed; 0: no addresses are left. REQUIRES: `bytes` is whole pages.
  // Throws: std::bad_alloc; nothing has changed then.
  struct Taken {
    char* start = nullptr;
    // clean bytes used; negative: that many were returned to the system
    std::int64_t clean_bytes = 0;
  };
  Taken take(std::int64_t bytes, std::int64_t clean_allowed);
  // Adds the run to the cached ones. This and allow() take no memory: take() has made room.
  void give_back(Run run) noexcept {
    --taken_;
    cached_.insert(run);
  }
  // Returns the run to the system, and lets each access fault until allow().
  void forbid(Run run) noexcept { pages_.forbid({run.start, run.bytes}); }
  void allow(Run run) noexcept {
    --taken_;
    make_clean(run);
  }
  // Returns at least `bytes` of cached pages to the system, or all there are; none where there is
  // no memory to note it. The result is how many.
  std::int64_t trim(std::int64_t bytes) noexcept;

  [[nodiscard]] std::int64_t cached() const { return cached_.total(); }
  void validate() const;

 private:
  // Makes room for the runs that may come back, and for those that one call adds.
  void prepare(std::int64_t more);
  Taken find(std::int64_t bytes, std::int64_t clean_allowed);
  bool reserve_addresses(std::int64_t bytes);
  // Prepares `bytes` of clean pages from `start` on: the first `moved` get cached pages, the rest
  // will be faulted in. Returns how many other bytes it returned to the system.
  std::int64_t make_resident(char* start, std::int64_t bytes, std::int64_t moved);
  void make_clean(Run run);

  device::Pages& pages_;
  RunNodes nodes_;
  PageRuns cached_{&nodes_};
  PageRuns clean_{&nodes_};
  std::int64_t taken_ = 0;  // runs that were handed out and have not come back
  int pieces_ = 0;          // estimate of the mappings that moves have made
};

}  // namespace neap::memory
