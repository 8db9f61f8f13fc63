// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/content_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <new>

namespace neap::device {

ContentHash ContentHash::of(const void* data, std::size_t bytes) noexcept {
  const XXH128_hash_t hash = XXH3_128bits(data, bytes);
  return {hash.low64, hash.high64};
}

RunningContentHash::RunningContentHash() noexcept {
  static_assert(sizeof(XXH3_state_t) <= sizeof(state_) && alignof(XXH3_state_t) <= 64);
  XXH3_128bits_reset(new (state_) XXH3_state_t);
}

void RunningContentHash::update(const void* data, std::size_t bytes) noexcept {
  XXH3_128bits_update(std::launder(reinterpret_cast<XXH3_state_t*>(state_)), data, bytes);
}

ContentHash RunningContentHash::value() const noexcept {
  const XXH128_hash_t hash =
      XXH3_128bits_digest(std::launder(reinterpret_cast<const XXH3_state_t*>(state_)));
  return {hash.low64, hash.high64};
}

}  // namespace neap::device
