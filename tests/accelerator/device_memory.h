// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The emulated accelerator's memory.
#pragma once

#include "device/pages.h"

#include <cstdint>

namespace neap::test {

// A file in memory that is mapped twice. At the addresses that the program sees, nobody may read or
// write. At the addresses that the device's kernels use, they may.
class DeviceMemory final : public device::Pages {
 public:
  static DeviceMemory& instance();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // The address at which kernels find what the program knows as `address`.
  [[nodiscard]] char* inside(const void* address) const {
    return inside_ + (static_cast<const char*>(address) - outside_);
  }
  [[nodiscard]] bool is_inside(const void* address) const {
    const char* const at = static_cast<const char*>(address);
    return at >= inside_ && at < inside_ + kBytes;
  }
  [[nodiscard]] std::int64_t held() const;

  Range reserve(std::int64_t bytes) override;
  void prepare(Range range) noexcept override;
  void move(char* from, char* to, std::int64_t bytes) noexcept override;
  void release(Range range) noexcept override;
  void forbid(Range range) noexcept override { release(range); }  // the host faults there anyway

 private:
  static constexpr std::int64_t kBytes = std::int64_t{16} << 30;
  DeviceMemory();

  int file_;
  char* inside_;
  char* outside_;
  bool reserved_ = false;
};

}  // namespace neap::test
