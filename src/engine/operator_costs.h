// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/operator_costs.h: what an operator costs, the same number each time it is asked.
//
// A policy that decides by times measured anew makes other decisions in each step: a budget that fitted once would
// fail the next time, and no error could be repeated. So an operator of the same sizes is measured a few times, and
// the smallest, the one least disturbed, stays.
// Threads: none. Cost: one lookup in a hash table.
#pragma once

#include <c10/util/flat_hash_map.h>

#include <algorithm>
#include <cstdint>

namespace neap::engine {

class OperatorCosts {
 public:
  struct Cost {
    float ns = 0;
    std::uint32_t measured = 0;  // times

    [[nodiscard]] bool settled() const { return measured >= kMeasured; }
  };

  // Returns the cost to go on with, ns. REQUIRES: it is not settled.
  float learn(std::uint64_t signature, float measured_ns) {
    if (costs_.size() >= kMost && costs_.count(signature) == 0)
      costs_.clear();  // shapes without end
    Cost& cost = costs_[signature];
    cost.ns = cost.measured == 0 ? measured_ns : std::min(cost.ns, measured_ns);
    ++cost.measured;
    return cost.ns;
  }

  // Not measured: 0 ns.
  [[nodiscard]] Cost of(std::uint64_t signature) const {
    const auto found = costs_.find(signature);
    return found == costs_.end() ? Cost{} : found->second;
  }

 private:
  static constexpr std::size_t kMost = std::size_t{1} << 16;
  static constexpr std::uint32_t kMeasured = 3;

  ska::flat_hash_map<std::uint64_t, Cost> costs_;
};

}  // namespace neap::engine
