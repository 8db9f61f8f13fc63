// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/device.h"

#include <atomic>

namespace neap::device {
namespace {

std::atomic<Device*> tracked_device{nullptr};

}  // namespace

Device& tracked() noexcept {
  Device* const device = tracked_device.load(std::memory_order_acquire);
  return device != nullptr ? *device : cpu();
}

void track(Device& device) noexcept { tracked_device.store(&device, std::memory_order_release); }

}  // namespace neap::device
