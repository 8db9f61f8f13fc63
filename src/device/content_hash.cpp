// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/content_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace neap::device {

ContentHash ContentHash::of(const void* data, std::size_t bytes) noexcept {
  const XXH128_hash_t hash = XXH3_128bits(data, bytes);
  return {hash.low64, hash.high64};
}

}  // namespace neap::device
