// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// policy/dtr_eq.h: the on-line heuristic h_DTR^eq of "Dynamic Tensor Rematerialization", Kirisame et al., arXiv 2006.09616.
//
// Evicts the block with the smallest cost / (bytes x staleness), where cost is what it takes to bring the block back: its own
// operators and those of the evicted neighbourhood. Neighbourhoods are sums in a union-find: going merges, coming back
// subtracts and leaves the component as it is, the paper's approximation, so no step searches the graph.
// Cost per eviction: O(sample x neighbours), whatever the number of blocks.
#pragma once

#include "engine/policy.h"

#include <cstdint>
#include <vector>

namespace neap::policy {

class DtrEq final : public engine::Policy {
 public:
  engine::Block* choose(std::span<engine::Block* const> evictable, double clock) override;
  void went(engine::Block& block) override;
  void came_back(engine::Block& block) override;
  void reset() override;

 private:
  static constexpr std::uint32_t kNone = 0;
  struct Component {
    std::uint32_t parent;
    double cost;
  };

  double score(engine::Block& block, double clock);
  double neighbourhood(engine::Block& block);
  template <class Visit>
  void for_each_gone_neighbour(engine::Block& block, Visit visit);
  std::uint32_t find(std::uint32_t component);
  std::uint32_t next_random();

  std::vector<Component> components_{Component{0, 0}};  // number 0 stands for none
  std::uint32_t random_ = 0x9E3779B9U;
};

}  // namespace neap::policy
