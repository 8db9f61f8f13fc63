// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// offload/host_tier.h: copies in memory of the host that LibTorch does not hold.
#pragma once

#include "device/device.h"
#include "offload/host_memory.h"
#include "offload/tier.h"

#include <string>

namespace neap::offload {

class HostTier final : public Tier {
 public:
  // Takes addresses, four times as many as the machine has memory if it can; pages take memory when
  // a copy goes there. Throws: Error.
  explicit HostTier(device::Device& device = device::tracked());

  void write(std::int64_t offset, const void* from, std::size_t bytes) override;
  void read(std::int64_t offset, void* to, std::size_t bytes) override;
  bool release(std::int64_t offset, std::int64_t bytes) noexcept override;
  [[nodiscard]] std::int64_t alignment() const noexcept override { return 4096; }  // a page
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }

 private:
  // Throws: std::system_error when the addresses end before that.
  [[nodiscard]] char* at(std::int64_t offset, std::size_t bytes) const;

  std::string name_ = "the host's memory";
  device::Device& device_;
  HostMemory memory_;
};

}  // namespace neap::offload
