// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/regions.h: regions, and what stays in memory when one closes.
//
// Note [Selection]
// For each storage, as it is made, the innermost region that has a rule for it decides. A later
// set_checkpoint_policy() overrides this decision. When a region closes, the blocks that are alive
// and not to be saved are evicted. Two things are checked before:
//   * A storage that is to be saved may be dead by then, because nobody saved it for the backward
//     (the product below a softmax, for example). To hold it anyway could take more memory than no
//     checkpoint at all. So the living storages that would need it stay instead, and its operator
//     is not replayed either. Whatever the rules say, only storages that were alive stay.
//   * What no rule has decided is offered to the region's selector, with the cost of making it
//     again: the time of all operators between it and what stays.
#pragma once

#include "engine/layer_names.h"
#include "engine/region_names.h"
#include "engine/restorer.h"
#include "engine/run_log.h"
#include "engine/selection.h"
#include "engine/session.h"
#include "engine/store.h"

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace neap::engine {

class Regions {
 public:
  Regions(Session& session, Store& store, const Restorer& restorer, const LayerNames& layers,
          RunLog& run_log);

  // False: a region that opens now would do nothing. That is one that does not evict and is inside
  // no other, and one in a scope that only observes while there is an observer.
  [[nodiscard]] bool can_open(bool evicts) const;
  // close() evicts the blocks that were made since open(), except the results (see keep()) and what
  // is to be saved: see Note [Selection]. `selector`: null, or it outlives the region. `evicts`:
  // false for a region that only decides, in a region around it that evicts. `name`: for reports.
  void open(Selector* selector, bool evicts, const std::string& name);
  void close();
  void abandon() noexcept;
  [[nodiscard]] bool empty() const noexcept { return regions_.empty(); }
  [[nodiscard]] const RegionNames& names() const noexcept { return names_; }

  // The block is a result of the region that closes: it stays.
  static void keep(Block& block) noexcept { block.kept = true; }
  // A block was made.
  void enter(Block& block);
  // It died, or the engine forgets it.
  void leave(Block& block) noexcept;
  // Makes room for one more block. After it, enter() takes no memory.
  void prepare() {
    if (blocks_.size() == blocks_.capacity()) blocks_.reserve(2 * blocks_.size() + 64);
  }
  // Asks the selectors about a storage that an operator has just made.
  void decide(Block& block, const intercept::OperatorTraits& traits, c10::IntArrayRef sizes);
  void set_policy(Block& block, CheckpointPolicy policy);
  void forget_blocks() noexcept;

 private:
  struct Region {
    Selector* selector;
    std::size_t start;  // index in blocks_
    std::uint32_t number;
    bool evicts;
    bool saves = false;  // a block that was made in it is to be saved
  };
  void decided(const Block& block);
  void choose_saved(const Region& region);
  void evict_blocks_of(const Region& region);

  Session& session_;
  Store& store_;
  const Restorer& restorer_;
  const LayerNames& layers_;
  RunLog& run_log_;
  RegionNames names_;
  std::vector<Region> regions_;  // open ones, outermost first
  std::vector<Block*> blocks_;   // made in them; null: dead
};

}  // namespace neap::engine
