// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>

namespace neap::engine {

// 128 bits (XXH3) of a storage's bytes: two contents with the same hash are taken for the same. See Note [Blanks].
struct ContentHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  // Cost: reads all bytes once.
  static ContentHash of(const void* data, std::size_t bytes) noexcept;
  friend bool operator==(const ContentHash&, const ContentHash&) = default;
};

}  // namespace neap::engine
