// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "offload/extents.h"

#include <algorithm>
#include <iterator>

namespace neap::offload {

Extents::Extents(Tier& tier, std::int64_t limit) : tier_(tier), limit_(limit) {}

std::int64_t Extents::rounded(std::int64_t bytes) const noexcept {
  const std::int64_t unit = tier_.alignment();
  if (bytes > limit_) return 0;  // so that the sum below cannot pass 2^63
  const std::int64_t units = std::max<std::int64_t>(1, bytes / unit + (bytes % unit != 0 ? 1 : 0));
  return units > limit_ / unit ? 0 : units * unit;
}

Extents::Place Extents::best(std::int64_t bytes, Kind kind) noexcept {
  Place found = extents_.end();
  for (Place at = extents_.begin(); at != extents_.end(); ++at) {
    if (at->kind != kind || at->bytes < bytes) continue;
    const bool is_better = found == extents_.end() || at->bytes < found->bytes ||
                           (at->bytes == found->bytes && at->freed > found->freed);
    if (is_better) found = at;
  }
  return found;
}

bool Extents::take(std::int64_t bytes, Place& place) {
  const std::int64_t size = rounded(bytes);
  if (size == 0 || size > limit_ - in_use_) return false;
  if (spare_.empty()) spare_.emplace_back();
  Place at = best(size, Kind::Warm);
  if (at == extents_.end()) {
    if (!release_warm(size - (limit_ - touched_))) return false;
    at = best(size, Kind::Hole);
    touched_ += size;
  }
  if (at == extents_.end()) {
    const std::int64_t end = extents_.empty() ? 0 : extents_.back().offset + extents_.back().bytes;
    extents_.splice(extents_.end(), spare_, spare_.begin());
    at = std::prev(extents_.end());
    *at = {.offset = end, .bytes = size};
  } else if (at->bytes > size) {
    extents_.splice(at, spare_, spare_.begin());  // before the rest
    const Place taken = std::prev(at);
    *taken = {.offset = at->offset, .bytes = size};
    at->offset += size;
    at->bytes -= size;
    at = taken;
  }
  at->kind = Kind::InUse;
  in_use_ += size;
  peak_ = std::max(peak_, in_use_);
  place = at;
  return true;
}

// Releases warm extents until `bytes` fewer are touched.
bool Extents::release_warm(std::int64_t bytes) noexcept {
  const std::int64_t goal = touched_ - std::max<std::int64_t>(0, bytes);
  while (touched_ > goal) {
    Place oldest = extents_.end();
    for (Place at = extents_.begin(); at != extents_.end(); ++at) {
      if (at->kind != Kind::Warm) continue;
      if (oldest == extents_.end() || at->freed < oldest->freed) oldest = at;
    }
    if (oldest == extents_.end()) return false;
    if (!tier_.release(oldest->offset, oldest->bytes)) {
      releases_ = false;
      return false;
    }
    touched_ -= oldest->bytes;
    free(oldest, Kind::Hole);
  }
  return true;
}

// Makes it a free extent of the kind, one with its neighbours of the same kind.
void Extents::free(Place place, Kind kind) noexcept {
  place->kind = kind;
  if (place != extents_.begin()) {
    const Place before = std::prev(place);
    if (before->kind == kind) {
      place->offset = before->offset;
      place->bytes += before->bytes;
      extents_.erase(before);
    }
  }
  const Place after = std::next(place);
  if (after != extents_.end() && after->kind == kind) {
    place->bytes += after->bytes;
    extents_.erase(after);
  }
  if (kind == Kind::Hole && std::next(place) == extents_.end()) extents_.erase(place);
}

void Extents::give(Place place) noexcept {
  in_use_ -= place->bytes;
  place->freed = ++clock_;
  free(place, Kind::Warm);
}

void Extents::give_released(Place place) noexcept {
  if (!tier_.release(place->offset, place->bytes)) {
    give(place);
    return;
  }
  in_use_ -= place->bytes;
  touched_ -= place->bytes;
  free(place, Kind::Hole);
}

bool Extents::fits(std::int64_t bytes) const noexcept {
  const std::int64_t size = rounded(bytes);
  if (size == 0 || size > limit_ - in_use_) return false;
  if (releases_ || size <= limit_ - touched_) return true;
  return std::any_of(extents_.begin(), extents_.end(), [&](const Extent& one) {
    return one.kind == Kind::Warm && one.bytes >= size;
  });
}

}  // namespace neap::offload
