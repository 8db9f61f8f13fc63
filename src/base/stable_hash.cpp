// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "base/stable_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace neap {

static_assert(XXH_VERSION_NUMBER >= 800, "earlier ones give other values");

std::uint64_t stable_hash(const void* data, std::size_t bytes, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(data, bytes, seed);
}

}  // namespace neap
