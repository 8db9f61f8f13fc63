// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Which pages the system holds for this process. mincore() would not do, because it misses pages
// that a busy machine has swapped out.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace neap::test {

// The number of pages from `start` on that have content, in memory or swapped out. Absent: this
// system does not tell.
inline std::optional<std::int64_t> held_pages(const void* start, std::int64_t bytes) {
  constexpr std::int64_t kPage = 4096;
  const int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  std::vector<std::uint64_t> entries(static_cast<std::size_t>(bytes / kPage));
  const std::size_t size = entries.size() * sizeof entries[0];
  const auto first = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(start)) / kPage * 8;
  const ssize_t got = pread(file, entries.data(), size, first);
  close(file);
  if (got != static_cast<ssize_t>(size)) return std::nullopt;
  std::int64_t held = 0;
  for (const std::uint64_t entry : entries) held += (entry >> 62) != 0 ? 1 : 0;  // present, swapped
  return held;
}

}  // namespace neap::test
