// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// traces/random.h: random numbers that are the same on every machine. The distributions of the
// standard library differ between its implementations, and logarithms differ in their last bit. So
// this uses whole numbers only.
#pragma once

#include <cstdint>
#include <random>

namespace neap::bench {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  // Returns 0 .. end - 1. REQUIRES: end > 0.
  std::int64_t below(std::int64_t end) {
    return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(end));
  }
  // Returns first .. last, both included.
  std::int64_t between(std::int64_t first, std::int64_t last) {
    return first + below(last - first + 1);
  }
  bool chance(std::int64_t percent) { return below(100) < percent; }
  // Returns a number from 2^first up to 2^last. Each doubling is equally likely.
  std::int64_t doubling(std::int64_t first, std::int64_t last) {
    const std::int64_t floor = std::int64_t{1} << between(first, last - 1);
    return floor + below(floor);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace neap::bench
