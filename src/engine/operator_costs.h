// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/operator_costs.h: what an operator costs, the same number each time it is asked.
//
// A policy that decides by times measured anew makes other decisions in each step: a budget that fitted once would
// fail the next time, and no error could be repeated. So an operator of the same sizes is measured a few times, and
// the smallest, the one least disturbed, stays.
// Threads: none. Cost: one lookup in a hash table.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>

namespace neap::engine {

class OperatorCosts {
 public:
  // Returns the cost to go on with, ns.
  float learn(std::uint64_t signature, float measured_ns) {
    if (costs_.size() >= kMost && !costs_.contains(signature))
      costs_.clear();  // shapes without end
    Cost& cost = costs_[signature];
    if (cost.times < kMeasured) {
      cost.ns = cost.times == 0 ? measured_ns : std::min(cost.ns, measured_ns);
      ++cost.times;
    }
    return cost.ns;
  }

  // What learn() returned last; 0: nothing was measured.
  [[nodiscard]] float of(std::uint64_t signature) const {
    const auto found = costs_.find(signature);
    return found == costs_.end() ? 0 : found->second.ns;
  }

 private:
  static constexpr std::size_t kMost = std::size_t{1} << 16;
  static constexpr std::uint32_t kMeasured = 3;

  struct Cost {
    float ns = 0;
    std::uint32_t times = 0;
  };
  std::unordered_map<std::uint64_t, Cost> costs_;
};

}  // namespace neap::engine
