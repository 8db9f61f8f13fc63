// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/pages.h: addresses of a device, and the pages of memory behind them.
#pragma once

#include <cstdint>

namespace neap::device {

// Threads: one at a time.
class Pages {
 public:
  struct Range {
    char* start = nullptr;
    std::int64_t bytes = 0;
  };
  virtual ~Pages() = default;

  // Reserves addresses without memory, `bytes` of them or more. Null: none are left.
  virtual Range reserve(std::int64_t bytes) = 0;
  // Pages of the range are about to be written for the first time since they were reserved or
  // released. The device then has memory for them, or takes it at the first write.
  virtual void prepare(Range range) noexcept = 0;
  // Moves pages to other reserved addresses that have none. Pages that cannot be moved stay.
  virtual void move(char* from, char* to, std::int64_t bytes) noexcept = 0;
  // Gives the memory back to the system. The addresses stay reserved.
  virtual void release(Range range) noexcept = 0;
  // As release(), and each access faults from now on, until the next release() of the range.
  virtual void forbid(Range range) noexcept = 0;
};

}  // namespace neap::device
