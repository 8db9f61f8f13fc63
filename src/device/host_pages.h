// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/host_pages.h: pages of the host, for what neap itself keeps about tensors of any device.
#pragma once

#include <cstddef>
#include <memory_resource>

namespace neap::device {

// Gets whole pages directly from the system, so that what lies in them never shares a heap with
// tensors. Throws: std::bad_alloc. Threads: any.
class HostPages final : public std::pmr::memory_resource {
 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* memory, std::size_t bytes, std::size_t alignment) override;
  [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override {
    return this == &other;
  }
};

}  // namespace neap::device
