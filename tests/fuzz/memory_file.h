// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/fuzz/memory_file.h: an input as a file, for readers that take a path.
#pragma once

#include "fuzz/round_trip.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <string>

namespace neap::fuzz {

class MemoryFile {
 public:
  MemoryFile(const unsigned char* bytes, std::size_t count)
      : descriptor_(::memfd_create("fuzzed", MFD_CLOEXEC)) {
    expect(descriptor_ >= 0 && ::write(descriptor_, bytes, count) == static_cast<ssize_t>(count),
           "there is memory for the input");
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace neap::fuzz
