// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// policy/dtr_eq.h: the online heuristic h_DTR^eq of "Dynamic Tensor Rematerialization",
// Kirisame et al., arXiv 2006.09616.
//
// Evicts the block with the lowest h_dtr_eq(): see planner/h_dtr_eq.h.
// Cost of an eviction: O(sample x neighbours), whatever the number of blocks, unless the whole
// sample is locked.
#pragma once

#include "engine/policy.h"
#include "planner/h_dtr_eq.h"

#include <cstdint>
#include <span>

namespace neap::policy {

class DtrEq final : public engine::EvictionPolicy {
 public:
  engine::Victim choose(std::span<engine::Block* const> evictable, double clock,
                        const engine::BlockCopies& copies) override;
  void on_evict(engine::Block& block) noexcept override;
  void on_restore(engine::Block& block) noexcept override;
  void reset() noexcept override;

 private:
  double replay_ns(engine::Block& block);
  template <class Visit>
  void for_each_gone_neighbour(engine::Block& block, Visit visit);
  std::uint32_t next_random();

  planner::EvictedSets evicted_;
  std::uint32_t random_ = 0x9E3779B9U;
};

}  // namespace neap::policy
