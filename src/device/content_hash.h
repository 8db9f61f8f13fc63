// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// device/content_hash.h: a hash by which contents are compared.
#pragma once

#include <cstddef>
#include <cstdint>

namespace neap::device {

// A 128-bit hash (XXH3) of a storage's bytes. Two contents with the same hash count as equal. See
// Note [Blanks].
struct ContentHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  // Cost: reads all bytes once.
  static ContentHash of(const void* data, std::size_t bytes) noexcept;
  friend bool operator==(const ContentHash&, const ContentHash&) = default;
};

}  // namespace neap::device
