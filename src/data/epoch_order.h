// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/epoch_order.h: the order of the samples in an epoch. A function of (seed, epoch), the same
// with every compiler: the standard defines the generator and its seeding, but not the result of
// std::shuffle.
#pragma once

#include <cstdint>
#include <vector>

namespace neap::data {

class EpochOrder {
 public:
  EpochOrder() = default;  // the samples in their own order
  static EpochOrder shuffled(std::int64_t size, std::uint64_t seed, std::int64_t epoch);

  // REQUIRES: 0 <= first, first + count <= size.
  [[nodiscard]] std::vector<std::int64_t> samples(std::int64_t first, std::int64_t count) const;

 private:
  std::vector<std::int64_t> order_;  // empty: their own order
};

}  // namespace neap::data
