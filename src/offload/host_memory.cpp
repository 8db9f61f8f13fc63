// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/host_memory.h"

#include <sys/mman.h>

#include <utility>

namespace neap::offload {

HostMemory::HostMemory(std::size_t bytes) noexcept {
  void* const start = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return;
  start_ = static_cast<char*>(start);
  bytes_ = bytes;
}

HostMemory::HostMemory(HostMemory&& from) noexcept
    : start_(std::exchange(from.start_, nullptr)), bytes_(std::exchange(from.bytes_, 0)) {}

HostMemory& HostMemory::operator=(HostMemory&& from) noexcept {
  std::swap(start_, from.start_);
  std::swap(bytes_, from.bytes_);
  return *this;
}

HostMemory::~HostMemory() {
  if (start_ != nullptr) ::munmap(start_, bytes_);
}

}  // namespace neap::offload
