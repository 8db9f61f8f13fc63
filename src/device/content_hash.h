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

// The same hash of bytes that come in parts. Takes no memory.
class RunningContentHash {
 public:
  RunningContentHash() noexcept;
  void update(const void* data, std::size_t bytes) noexcept;
  [[nodiscard]] ContentHash value() const noexcept;  // of all bytes so far

 private:
  alignas(64) std::byte state_[640];  // XXH3_state_t, whose header only content_hash.cpp sees
};

}  // namespace neap::device
