// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace neap::memory {
namespace {

// Only the huge pages that lie inside the run: one that stuck out would make its neighbours resident, and the process
// larger than what is counted.
void advise_huge_pages(Run run) {
  const auto begin = reinterpret_cast<std::uintptr_t>(run.start);
  const std::uintptr_t end = begin + static_cast<std::uintptr_t>(run.bytes);
  constexpr auto kHuge = static_cast<std::uintptr_t>(kHugePageBytes);
  const std::uintptr_t first = (begin + kHuge - 1) / kHuge * kHuge;
  const std::uintptr_t last = end / kHuge * kHuge;
  if (first < last) madvise(run.start + (first - begin), last - first, MADV_HUGEPAGE);
}

constexpr std::int64_t kMostTrimmed = std::numeric_limits<std::int64_t>::max() - kPageBytes;

std::int64_t physical_bytes() {
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

}  // namespace

Arena::Taken Arena::take(std::int64_t bytes, std::int64_t clean_allowed) {
  if (const auto run = cached_.take_best_fit(bytes)) return {run->start, 0};

  // A cached run that goes on as a clean one needs fewer new pages than a clean one alone.
  if (const auto front = cached_.largest_before(clean_, bytes)) {
    const std::int64_t clean = bytes - front->bytes;
    if (clean > clean_allowed) return {nullptr, clean};
    cached_.take_front(front->start, front->bytes);
    clean_.take_front(front->start + front->bytes, clean);
    if (clean >= kHugeRun) advise_huge_pages({front->start + front->bytes, clean});
    return {front->start, clean};
  }

  if (bytes > clean_allowed) return {nullptr, bytes};
  std::optional<Run> run = clean_.take_best_fit(bytes);
  if (!run && reserve_addresses(bytes)) run = clean_.take_best_fit(bytes);
  if (!run) return {nullptr, 0};
  if (bytes >= kHugeRun) advise_huge_pages(*run);
  return {run->start, bytes};
}

std::int64_t Arena::trim(std::int64_t bytes) noexcept {
  // Whole pages: madvise would round up what is less, and clear the beginning of the block that follows.
  if (bytes < kMostTrimmed) bytes = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  std::int64_t returned = 0;
  while (returned < bytes) {
    const auto run = cached_.take_from_largest(bytes - returned);
    if (!run) break;
    // madvise fails only for arguments that no run has; the pages would then stay resident, and nothing else breaks.
    madvise(run->start, static_cast<std::size_t>(run->bytes), MADV_DONTNEED);
    clean_.insert(*run);
    returned += run->bytes;
  }
  return returned;
}

bool Arena::reserve_addresses(std::int64_t bytes) {
  // Four times the machine, so that holes do not use it up. Where the system limits addresses, less and again.
  std::int64_t size = std::max(bytes, 4 * physical_bytes());
  while (true) {
    void* start = mmap(nullptr, static_cast<std::size_t>(size), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start != MAP_FAILED) {
      // Huge pages are asked for where they fit, never by default: see advise_huge_pages.
      madvise(start, static_cast<std::size_t>(size), MADV_NOHUGEPAGE);
      clean_.insert({static_cast<char*>(start), size});
      return true;
    }
    if (size == bytes) return false;
    size = std::max(bytes, size / 2 / kPageBytes * kPageBytes);
  }
}

void Arena::validate() const {
  cached_.validate(kPageBytes);
  clean_.validate(kPageBytes);
}

}  // namespace neap::memory
