// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/host_tier.h"

#include <neap/base.h>

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>

namespace neap::offload {

HostTier::HostTier(device::Device& device) : device_(device) {
  // Less where the system limits addresses (ulimit -v, or strict accounting of memory).
  constexpr std::size_t kLeast = std::size_t{64} << 20;
  std::size_t bytes = 4 * static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) *
                      static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  for (; memory_.start() == nullptr && bytes >= kLeast; bytes /= 2) memory_ = HostMemory(bytes);
  if (memory_.start() == nullptr) {
    throw Error("the host's memory cannot be offloaded to: not even " +
                Bytes(static_cast<std::int64_t>(kLeast)).text() +
                " of addresses are left; raise the limit (ulimit -v)");
  }
}

char* HostTier::at(std::int64_t offset, std::size_t bytes) const {
  const auto first = static_cast<std::size_t>(offset);
  if (first > memory_.bytes() || bytes > memory_.bytes() - first) {
    throw std::system_error(ENOSPC, std::generic_category());
  }
  return memory_.start() + first;
}

void HostTier::write(std::int64_t offset, const void* from, std::size_t bytes) {
  device_.to_host(at(offset, bytes), from, bytes);
}

void HostTier::read(std::int64_t offset, void* to, std::size_t bytes) {
  device_.from_host(to, at(offset, bytes), bytes);
}

bool HostTier::release(std::int64_t offset, std::int64_t bytes) noexcept {
  return ::madvise(memory_.start() + offset, static_cast<std::size_t>(bytes), MADV_DONTNEED) == 0;
}

std::unique_ptr<Tier> open_host_tier() { return std::make_unique<HostTier>(); }

}  // namespace neap::offload
