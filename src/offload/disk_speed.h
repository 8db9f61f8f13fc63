// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// offload/disk_speed.h: measures which way a directory's file system is faster.
#pragma once

#include "offload/backing_file.h"
#include "offload/tier.h"

namespace neap::offload {

// Copies go through memory in pieces of this many bytes: a piece is hashed and then written, or
// read and then hashed, while it is in the processor's cache.
inline constexpr std::size_t kPieceBytes = std::size_t{2} << 20;

struct DiskSpeed {
  Speed buffered = {};
  Speed direct = {};  // 0: there is no direct way
  // What is written stays in the system's cache of files; else `buffered` is the disk's speed.
  bool in_cache = false;

  [[nodiscard]] Way faster() const noexcept;
  [[nodiscard]] const Speed& of(Way way) const noexcept {
    return way == Way::Direct ? direct : buffered;
  }
};

// Writes and reads a few pieces each way, and empties the file. `in_cache`: see there. What the
// file refuses has no speed. Cost: writes and reads 16 MiB each way.
DiskSpeed measure(BackingFile& file, bool in_cache) noexcept;
// The same, but once for each file system in a process. Threads: any.
DiskSpeed remembered_speed(BackingFile& file, bool in_cache);
// Whether the machine, or the process's control group, has memory left for so many cached bytes.
bool fits_in_cache(std::int64_t bytes);

}  // namespace neap::offload
