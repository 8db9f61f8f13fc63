// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/operator_costs.h: the cost of each operator, which does not change once it is known.
//
// If times were measured anew in each step, the policy would decide differently each time. A budget
// that fitted once could fail the next time, and no error could be repeated. So an operator of the
// same sizes is measured a few times. The smallest time stays, because it was disturbed least. Not
// thread-safe. Cost: one lookup in a hash table.
#pragma once

#include <c10/util/flat_hash_map.h>

#include <algorithm>
#include <cstdint>
#include <new>

namespace neap::engine {

class OperatorCosts {
 public:
  struct Cost {
    float ns = 0;
    std::uint32_t measured = 0;  // how often

    [[nodiscard]] bool settled() const { return measured >= kMeasured; }
  };

  // Returns the cost to use, ns. REQUIRES: it is not settled.
  float learn(std::uint64_t signature, float measured_ns) noexcept {
    // Bounds the table for a program whose shapes never repeat.
    if (costs_.size() >= kMost && costs_.count(signature) == 0) costs_.clear();
    try {
      Cost& cost = costs_[signature];
      cost.ns = cost.measured == 0 ? measured_ns : std::min(cost.ns, measured_ns);
      ++cost.measured;
      return cost.ns;
    } catch (const std::bad_alloc&) {
      return measured_ns;  // it is learnt when it runs again
    }
  }

  // Returns 0 ns when nothing was measured.
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
