// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/cpu/cpu_pages.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace neap::device {
namespace {

constexpr int kMapping = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
constexpr std::int64_t kPageBytes = 4096;
constexpr std::int64_t kHugePageBytes = std::int64_t{2} << 20;
// Fewer fresh bytes than this get no huge pages.
constexpr std::int64_t kSmallestHuge = 2 * kHugePageBytes;
constexpr std::int64_t kSmallestMoved = 16 * kPageBytes;

std::int64_t physical_bytes() {
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

// True with ulimit -v or -d, which count reserved addresses whether they are used or not.
bool addresses_are_limited() {
  const auto is_limited = [](auto resource) {
    rlimit limit{};
    return getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  };
  return is_limited(RLIMIT_AS) || is_limited(RLIMIT_DATA);
}

}  // namespace

Pages::Range CpuPages::reserve(std::int64_t bytes) {
  // Four times the machine's memory, so that holes do not use it up. Where the system limits
  // addresses, only as many as needed, because others need some too: oneDNN for the code that it
  // generates.
  constexpr std::int64_t kPiece = std::int64_t{32} << 20;
  std::int64_t size = std::max(bytes, addresses_are_limited() ? kPiece : 4 * physical_bytes());
  while (true) {
    void* const start =
        mmap(nullptr, static_cast<std::size_t>(size), PROT_READ | PROT_WRITE, kMapping, -1, 0);
    if (start != MAP_FAILED) {
      // Huge pages only where prepare() asks for them.
      madvise(start, static_cast<std::size_t>(size), MADV_NOHUGEPAGE);
      return {static_cast<char*>(start), size};
    }
    if (size == bytes) return {};
    size = std::max(bytes, size / 2 / kPageBytes * kPageBytes);
  }
}

// Asks for huge pages only where they lie inside the range. One that reached beyond it would make
// neighbours resident, and the process larger than the count.
void CpuPages::prepare(Range range) noexcept {
  if (range.bytes < kSmallestHuge) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(range.start);
  const std::uintptr_t end = begin + static_cast<std::uintptr_t>(range.bytes);
  constexpr auto kHuge = static_cast<std::uintptr_t>(kHugePageBytes);
  const std::uintptr_t first = (begin + kHuge - 1) / kHuge * kHuge;
  const std::uintptr_t last = end / kHuge * kHuge;
  if (first < last) madvise(range.start + (first - begin), last - first, MADV_HUGEPAGE);
}

// The old addresses stay reserved: MREMAP_DONTUNMAP.
void CpuPages::move(char* from, char* to, std::int64_t bytes) noexcept {
  const auto size = static_cast<std::size_t>(bytes);
  constexpr int kFlags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  if (mremap(from, size, size, kFlags, to) != MAP_FAILED) return;
  if (errno != EFAULT || bytes < 2 * kSmallestMoved) return;
  // EFAULT: the pages are in several mappings. Each has to be moved alone.
  const std::int64_t half = bytes / 2 / kPageBytes * kPageBytes;
  move(from, to, half);
  move(from + half, to + half, bytes - half);
}

// Maps the range anew, which merges it with neighbours that have no pages, and no longer asks for
// huge pages.
void CpuPages::release(Range range) noexcept {
  const auto size = static_cast<std::size_t>(range.bytes);
  if (mmap(range.start, size, PROT_READ | PROT_WRITE, kMapping | MAP_FIXED, -1, 0) == MAP_FAILED) {
    // No mapping is left. madvise needs none, and fails only for invalid arguments.
    madvise(range.start, size, MADV_DONTNEED);
  } else {
    madvise(range.start, size, MADV_NOHUGEPAGE);
  }
}

void CpuPages::forbid(Range range) noexcept {
  const auto size = static_cast<std::size_t>(range.bytes);
  if (mmap(range.start, size, PROT_NONE, kMapping | MAP_FIXED, -1, 0) == MAP_FAILED) release(range);
}

}  // namespace neap::device
