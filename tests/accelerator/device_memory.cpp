// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "accelerator/device_memory.h"

#include "accelerator/streams.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace neap::test {

DeviceMemory& DeviceMemory::instance() {
  static auto* const memory = new DeviceMemory;  // tensors may die after the statics
  return *memory;
}

DeviceMemory::DeviceMemory() : file_(memfd_create("accelerator", MFD_CLOEXEC)) {
  if (file_ < 0 || ftruncate(file_, kBytes) != 0) throw std::runtime_error("memfd_create failed");
  const auto map = [&](int protection) {
    void* const start = mmap(nullptr, kBytes, protection, MAP_SHARED | MAP_NORESERVE, file_, 0);
    if (start == MAP_FAILED) throw std::runtime_error("mmap failed");
    return static_cast<char*>(start);
  };
  inside_ = map(PROT_READ | PROT_WRITE);
  outside_ = map(PROT_NONE);
}

std::int64_t DeviceMemory::held() const {
  struct stat status {};
  if (fstat(file_, &status) != 0) throw std::runtime_error("fstat failed");
  return static_cast<std::int64_t>(status.st_blocks) * 512;
}

device::Pages::Range DeviceMemory::reserve(std::int64_t bytes) {
  if (std::exchange(reserved_, true) || bytes > kBytes) return {};
  return {outside_, kBytes};
}

void DeviceMemory::prepare(Range /*range*/) noexcept {}

// Moved pages need not keep their contents: the device supplies other pages at the first write.
void DeviceMemory::move(char* from, char* /*to*/, std::int64_t bytes) noexcept {
  release({from, bytes});
}

// Waits first, because kernels in the streams may still write there.
void DeviceMemory::release(Range range) noexcept {
  Streams::instance().wait_for_all();
  constexpr int kMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (fallocate(file_, kMode, range.start - outside_, range.bytes) != 0) std::abort();
}

}  // namespace neap::test
