// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "base/stable_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace neap {

static_assert(XXH_VERSION_NUMBER >= 800, "earlier ones give other values");

std::uint64_t stable_hash(const void* data, std::size_t bytes, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(data, bytes, seed);
}

struct RunningHash::State {
  XXH3_state_t of;
};

RunningHash::RunningHash() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->of); }
RunningHash::~RunningHash() = default;

void RunningHash::update(const void* data, std::size_t bytes) noexcept {
  XXH3_64bits_update(&state_->of, data, bytes);
}

std::uint64_t RunningHash::value() const noexcept { return XXH3_64bits_digest(&state_->of); }

}  // namespace neap
