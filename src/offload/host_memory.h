// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// offload/host_memory.h: pages of the host, directly from the system.
#pragma once

#include <cstddef>

namespace neap::offload {

// A mapping of fresh pages, which take memory when they are written.
class HostMemory {
 public:
  HostMemory() = default;
  // Takes `bytes` of addresses, or none: then start() is null.
  explicit HostMemory(std::size_t bytes) noexcept;
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;
  HostMemory(HostMemory&& from) noexcept;
  HostMemory& operator=(HostMemory&& from) noexcept;
  ~HostMemory();

  [[nodiscard]] char* start() const noexcept { return start_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  char* start_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace neap::offload
