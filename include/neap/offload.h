// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/offload.h: what a directory is like for storages that are offloaded, which are copied into a
// file there when the budget is full. Does not depend on LibTorch.
//
//   const neap::offload::Survey found = neap::offload::survey("/var/tmp");
//   std::cout << found.file_system << ", " << neap::Bytes(found.free).text() << " free\n";
//
// Units: bytes, and bytes a second. Threads: any.
#pragma once

#include <neap/base.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace neap::offload {

// Bytes a second, there and back. 0: it could not be measured, since the disk is full, say.
struct NEAP_EXPORT Rates {
  double out = 0;
  double in = 0;
};

struct NEAP_EXPORT Survey {
  std::string file_system;      // ext4, xfs, tmpfs; empty: not known
  std::int64_t free = 0;        // bytes that this user may still write
  bool unnamed = false;         // it has files without names, of which not even a kill leaves one
  bool in_memory = false;       // what is written there takes memory: nothing is won
  bool in_cache = false;        // see `buffered`
  Rates buffered;               // through the system's cache of files where `expected` bytes fit in
                                // the memory that is left, and to the disk and back where not
  std::optional<Rates> direct;  // past that cache; absent: the file system cannot
  bool uses_direct = false;     // the faster one of the two
};

// Looks at the directory and measures it, each time anew. `expected`: about how many bytes will be
// offloaded. Nothing stays there.
// Throws: Error, with the directory, what the system says, and what to do: there is none, or it is
// not writable. Cost: writes and reads some MiB.
NEAP_EXPORT Survey survey(const std::filesystem::path& directory,
                          std::int64_t expected = std::int64_t{1} << 30);

}  // namespace neap::offload
