// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// data/epoch_order.h: in which order an epoch goes through a data set. A function of (seed, epoch), the same with every
// compiler: the standard fixes the generator and its seeding, but not what std::shuffle makes of them.
#pragma once

#include <cstdint>
#include <vector>

namespace neap::data {

class EpochOrder {
 public:
  EpochOrder() = default;  // samples as they are
  static EpochOrder shuffled(std::int64_t size, std::uint64_t seed, std::int64_t epoch);

  // REQUIRES: 0 <= first, first + count <= size.
  [[nodiscard]] std::vector<std::int64_t> samples(std::int64_t first, std::int64_t count) const;

 private:
  std::vector<std::int64_t> order_;  // empty: as they are
};

}  // namespace neap::data
