// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/host_pages.h: pages of the host, for what neap itself keeps about tensors of any device.
#pragma once

#include <cstddef>
#include <memory_resource>

namespace neap::device {

// Gets whole pages directly from the system, so that what lies in them never shares a heap with
// tensors. It keeps a spare, so that a small request after one that was granted is granted, too:
// libstdc++'s pools (GCC 12) lose track of their chunks when the table of these cannot grow.
// Throws: Error. Threads: one.
class HostPages final : public std::pmr::memory_resource {
 public:
  HostPages() = default;
  HostPages(const HostPages&) = delete;
  HostPages& operator=(const HostPages&) = delete;
  ~HostPages() override;

 private:
  static constexpr std::size_t kSpareBytes = std::size_t{1} << 20;  // never resident

  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* memory, std::size_t bytes, std::size_t alignment) override;
  [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override {
    return this == &other;
  }

  void* spare_ = nullptr;
};

}  // namespace neap::device
