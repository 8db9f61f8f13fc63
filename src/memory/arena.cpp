// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/arena.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
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

constexpr int kMapping = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
constexpr int kMostPieces = 8192;  // of the 65,530 mappings that Linux allows
constexpr std::int64_t kSmallestMoved = 16 * kPageBytes;

// See Note [Moving]. What is not moved stays where it is. The old addresses stay ours: MREMAP_DONTUNMAP.
void move_pages(char* from, char* to, std::int64_t bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  constexpr int kFlags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  if (mremap(from, size, size, kFlags, to) != MAP_FAILED) return;
  if (errno != EFAULT || bytes < 2 * kSmallestMoved) return;
  // The pages lie in several mappings, of which each is moved alone.
  const std::int64_t half = bytes / 2 / kPageBytes * kPageBytes;
  move_pages(from, to, half);
  move_pages(from + half, to + half, bytes - half);
}

constexpr std::int64_t kMostTrimmed = std::numeric_limits<std::int64_t>::max() - kPageBytes;

std::int64_t physical_bytes() {
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

// By ulimit -v or -d: what is reserved counts for both, whether it is used or not.
bool addresses_are_limited() {
  const auto is_limited = [](auto resource) {
    rlimit limit{};
    return getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  };
  return is_limited(RLIMIT_AS) || is_limited(RLIMIT_DATA);
}

}  // namespace

Arena::Taken Arena::take(std::int64_t bytes, std::int64_t clean_allowed) {
  if (const auto run = cached_.take_best_fit(bytes)) return {run->start, 0};

  // A cached run that goes on as a clean one needs fewer new pages than a clean one alone.
  const std::optional<Run> front = cached_.largest_before(clean_, bytes);
  const std::int64_t front_bytes = front ? front->bytes : 0;
  const std::int64_t absent = bytes - front_bytes;
  std::int64_t moved = 0;
  if (absent > clean_allowed) {
    moved = std::min(absent, cached_.total() - front_bytes);
    if (absent - moved > clean_allowed) return {nullptr, absent - moved};
  }
  if (front) {
    cached_.take_front(front->start, front_bytes);
    clean_.take_front(front->start + front_bytes, absent);
    const std::int64_t given_back = make_resident(front->start + front_bytes, absent, moved);
    return {front->start, absent - moved - given_back};
  }
  std::optional<Run> run = clean_.take_best_fit(bytes);
  if (!run && reserve_addresses(bytes)) run = clean_.take_best_fit(bytes);
  if (!run) return {nullptr, 0};
  const std::int64_t given_back = make_resident(run->start, bytes, moved);
  return {run->start, bytes - moved - given_back};
}

std::int64_t Arena::make_resident(char* start, std::int64_t bytes, std::int64_t moved) {
  char* to = start;
  for (std::int64_t left = moved; left > 0; ++pieces_) {
    auto from = cached_.take_best_fit(left);
    if (!from) from = cached_.take_from_largest(left);
    move_pages(from->start, to, from->bytes);
    make_clean(*from);
    to += from->bytes;
    left -= from->bytes;
  }
  const std::int64_t fresh = bytes - moved;
  if (fresh >= kHugeRun) advise_huge_pages({to, fresh});
  if (pieces_ < kMostPieces) return 0;
  // A process may have so many mappings only, and others need some too. Those of clean runs become one again.
  pieces_ = 0;
  return trim(cached_.total());
}

std::int64_t Arena::trim(std::int64_t bytes) noexcept {
  // Whole pages: the system would round up what is less, and clear the beginning of the block that follows.
  if (bytes < kMostTrimmed) bytes = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  std::int64_t returned = 0;
  while (returned < bytes) {
    const auto run = cached_.take_from_largest(bytes - returned);
    if (!run) break;
    make_clean(*run);
    returned += run->bytes;
  }
  return returned;
}

// New mappings in place of the old: they merge with their clean neighbours, and ask for huge pages no longer.
void Arena::make_clean(Run run) {
  const auto size = static_cast<std::size_t>(run.bytes);
  if (mmap(run.start, size, PROT_READ | PROT_WRITE, kMapping | MAP_FIXED, -1, 0) == MAP_FAILED) {
    // No mapping is left. madvise needs none, and fails only for arguments that no run has.
    madvise(run.start, size, MADV_DONTNEED);
  } else {
    madvise(run.start, size, MADV_NOHUGEPAGE);
  }
  clean_.insert(run);
}

bool Arena::reserve_addresses(std::int64_t bytes) {
  // Four times the machine, so that holes do not use it up. Where the system limits addresses, as they are needed: others need
  // some too, oneDNN for the code that it makes.
  constexpr std::int64_t kPiece = std::int64_t{32} << 20;
  std::int64_t size = std::max(bytes, addresses_are_limited() ? kPiece : 4 * physical_bytes());
  while (true) {
    void* start =
        mmap(nullptr, static_cast<std::size_t>(size), PROT_READ | PROT_WRITE, kMapping, -1, 0);
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
