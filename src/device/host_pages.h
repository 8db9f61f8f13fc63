// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/host_pages.h: pages of the host, for what neap itself keeps about tensors of any device.
#pragma once

#include <array>
#include <cstddef>
#include <memory_resource>

namespace neap::device {

// Gets whole pages directly from the system, so that what lies in them never shares a heap with
// tensors. Throws: Error. Threads: one.
class HostPages final : public std::pmr::memory_resource {
 public:
  HostPages() = default;
  HostPages(const HostPages&) = delete;
  HostPages& operator=(const HostPages&) = delete;
  ~HostPages() override;

  // From here on, three requests of up to 4 MiB are granted, whatever the system says then. Call
  // it before each allocation of a pool: that of libstdc++ (GCC 12) asks for a chunk and for tables
  // of its chunks, and crashes later when it gets one without the other.
  // Throws: Error. Cost: none while no request was refused.
  void prepare();

 private:
  static constexpr std::size_t kSpares = 3;
  static constexpr std::size_t kSpareBytes = std::size_t{4} << 20;  // of addresses, never resident

  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* memory, std::size_t bytes, std::size_t alignment) override;
  [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override {
    return this == &other;
  }

  std::array<void*, kSpares> spare_{};
  std::size_t spares_ = 0;
};

}  // namespace neap::device
