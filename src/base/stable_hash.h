// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// base/stable_hash.h: a hash that is the same in every process, because plans in files name
// operators and steps by it. It is XXH3 of the bytes as they lie in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace neap {

// Cost: some ns for a few words.
std::uint64_t stable_hash(const void* data, std::size_t bytes, std::uint64_t seed = 0) noexcept;

// The same hash of bytes that come in parts.
class RunningHash {
 public:
  RunningHash();
  RunningHash(const RunningHash&) = delete;
  RunningHash& operator=(const RunningHash&) = delete;
  ~RunningHash();
  void update(const void* data, std::size_t bytes) noexcept;
  [[nodiscard]] std::uint64_t value() const noexcept;  // of all bytes so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace neap
