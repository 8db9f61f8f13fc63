// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/arena.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>
#include <stdexcept>

namespace neap::memory {
namespace {

constexpr int kMostPieces = 8192;   // of the 65,530 mappings that Linux allows
constexpr std::int64_t kNodes = 2;  // of a run
constexpr std::int64_t kMostTrimmed = std::numeric_limits<std::int64_t>::max() - kPageBytes;

}  // namespace

void Arena::prepare(std::int64_t more) {
  constexpr std::int64_t kAtOnce = 16;  // a call adds at most three runs to what comes back later
  nodes_.reserve(
      static_cast<std::size_t>(kNodes * std::max<std::int64_t>(0, taken_ + more) + kAtOnce));
}

Arena::Taken Arena::take(std::int64_t bytes, std::int64_t clean_allowed) {
  prepare(1);
  const Taken taken = find(bytes, clean_allowed);
  if (taken.start != nullptr) ++taken_;
  return taken;
}

Arena::Taken Arena::find(std::int64_t bytes, std::int64_t clean_allowed) {
  if (const auto run = cached_.take_best_fit(bytes)) return {run->start, 0};

  // A cached run that is followed by a clean one needs fewer new pages than a clean one alone.
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
    pages_.move(from->start, to, from->bytes);
    make_clean(*from);
    to += from->bytes;
    left -= from->bytes;
  }
  const std::int64_t fresh = bytes - moved;
  if (fresh > 0) pages_.prepare({to, fresh});
  if (pieces_ < kMostPieces) return 0;
  // Linux limits the mappings of a process, and others need some. Trimming merges those of clean
  // runs.
  pieces_ = 0;
  return trim(cached_.total());
}

std::int64_t Arena::trim(std::int64_t bytes) noexcept {
  // Whole pages only: the system rounds up, and would clear the start of the next block.
  if (bytes < kMostTrimmed) bytes = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  std::int64_t returned = 0;
  try {
    prepare(0);
  } catch (const std::bad_alloc&) {
    return returned;
  }
  while (returned < bytes) {
    const auto run = cached_.take_from_largest(bytes - returned);
    if (!run) break;
    make_clean(*run);
    returned += run->bytes;
  }
  return returned;
}

void Arena::make_clean(Run run) {
  pages_.release({run.start, run.bytes});
  clean_.insert(run);
}

bool Arena::reserve_addresses(std::int64_t bytes) {
  const device::Pages::Range range = pages_.reserve(bytes);
  if (range.start == nullptr) return false;
  clean_.insert({range.start, range.bytes});
  return true;
}

void Arena::validate() const {
  cached_.validate(kPageBytes);
  clean_.validate(kPageBytes);
  if (static_cast<std::int64_t>(nodes_.free_nodes()) < kNodes * taken_) {
    throw std::logic_error("arena: there are nodes for each run that may come back");
  }
}

}  // namespace neap::memory
