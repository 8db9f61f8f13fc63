// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// offload/extents.h: which bytes of a tier are in use.
//
// An extent is in use, warm or a hole. Warm: free, but the system still keeps what was there last,
// as blocks of a disk and pages of its cache. A hole: free, and the system has nothing there.
// Invariants, after each call:
//   in_use <= touched <= limit          touched == the bytes of the extents in use and warm ones
//   the extents lie side by side from 0; two free ones of a kind are never neighbours
//   the last one is no hole
// Offsets may pass the limit: holes take no room. So none is lost to fragmentation where the tier
// can release. Threads: one at a time. Cost: linear in the number of extents, far less than a copy.
#pragma once

#include "offload/tier.h"

#include <cstdint>
#include <list>

namespace neap::offload {

class Extents {
 public:
  enum class Kind : std::uint8_t { InUse, Warm, Hole };
  struct Extent {
    std::int64_t offset = 0;
    std::int64_t bytes = 0;  // a multiple of the tier's alignment
    Kind kind = Kind::InUse;
    std::int64_t freed = 0;  // by a clock that each give() advances
  };
  using Place = std::list<Extent>::iterator;

  // REQUIRES: the tier outlives this.
  Extents(Tier& tier, std::int64_t limit);
  Extents(const Extents&) = delete;
  Extents& operator=(const Extents&) = delete;

  // Takes bytes, rounded up: the smallest warm extent that holds them, of equal ones that which was
  // freed last; else fresh room, for which the oldest warm extents are released. False: there is no
  // room, and nothing has changed but what was released. Throws: std::bad_alloc, as before.
  bool take(std::int64_t bytes, Place& place);
  void give(Place place) noexcept;
  // What is there is of no use to the next one either: the tier has failed there.
  void give_released(Place place) noexcept;
  // Whether take() would find room, as far as is known: a tier may refuse to release.
  [[nodiscard]] bool fits(std::int64_t bytes) const noexcept;

  [[nodiscard]] std::int64_t in_use() const noexcept { return in_use_; }
  [[nodiscard]] std::int64_t touched() const noexcept { return touched_; }
  [[nodiscard]] std::int64_t limit() const noexcept { return limit_; }
  [[nodiscard]] std::int64_t peak() const noexcept { return peak_; }
  void reset_peak() noexcept { peak_ = in_use_; }
  [[nodiscard]] const std::list<Extent>& all() const noexcept { return extents_; }

 private:
  // 0: they pass any limit.
  [[nodiscard]] std::int64_t rounded(std::int64_t bytes) const noexcept;
  [[nodiscard]] Place best(std::int64_t bytes, Kind kind) noexcept;
  bool release_warm(std::int64_t bytes) noexcept;
  void free(Place place, Kind kind) noexcept;

  Tier& tier_;
  const std::int64_t limit_;
  std::list<Extent> extents_;  // by offset
  std::list<Extent> spare_;    // so that nothing throws once something has changed
  std::int64_t in_use_ = 0;
  std::int64_t touched_ = 0;
  std::int64_t peak_ = 0;
  std::int64_t clock_ = 0;
  bool releases_ = true;  // until the tier has refused
};

}  // namespace neap::offload
