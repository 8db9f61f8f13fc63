// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/blocks.h: a pass as a chain of stages, and a schedule of the chain as reruns.
//
// Note [Blocks]
// Cuts divide the forward into blocks. What crosses the cut after a block is a value
// (Note [Chains]). Far storages (Note [Cuts]) are not part of the chain and are never recomputed.
// A block's backward begins at the first operator that needs something that no later block has
// read.
// Options: each level drops more bytes of what is cheapest to recompute, by ns a byte, and restores
// it just before the backward needs it. What is made on the way stays until it is needed itself. In
// a frugal option it is freed, and made again then: that takes less memory, and many more runs.
#pragma once

#include "planner/chain.h"
#include "planner/passes.h"
#include "planner/restoration.h"

#include <cstdint>
#include <vector>

namespace neap::planner {

class Blocks {
 public:
  struct Choice {
    std::size_t levels;  // levels of how much of a block is kept, by ns a byte; at least 2
    bool frugal;         // adds a frugal option to each level of small blocks: Note [Blocks]
  };

  // `cuts` and `far`: Note [Cuts].
  Blocks(const Replays& replays, const Pass& pass, const std::vector<Index>& cuts, std::int64_t far,
         const Choice& choice);

  [[nodiscard]] Index size() const { return static_cast<Index>(blocks_.size()); }
  // The number of options of a block. The first keeps all that the backward needs.
  [[nodiscard]] Index options(Index block) const {
    return static_cast<Index>(blocks_[static_cast<std::size_t>(block)].options.size());
  }
  // Returns a stage for each block. Cost: each operator once for each option.
  [[nodiscard]] std::vector<ChainStage> measure() const;
  // Adds the reruns of the steps. REQUIRES: the steps form a persistent schedule.
  void append(const std::vector<ChainStep>& steps, Restoration& restoration) const;

 private:
  struct Option {
    std::vector<Index> kept;  // storages that the block made
    bool frugal;
  };
  struct Block {
    Index first;  // its forward operators: [first, last)
    Index last;
    Index back = kNone;  // its backward operators: [back, over)
    Index over = kNone;
    std::vector<Index> own = {};      // storages that it made, without far ones
    std::vector<Index> outputs = {};  // what crosses the cut after it, made by any block
    std::vector<Option> options = {};
  };
  // Storages that are restored together: those results of a group that the backward needs.
  struct Unit {
    Index group;
    std::int64_t bytes;
    double price;  // ns a byte
    std::vector<Index> storages;
  };
  class Profile;
  class Walk;

  [[nodiscard]] std::size_t block_of(Index op) const {
    return block_of_[static_cast<std::size_t>(op - pass_.first())];
  }
  [[nodiscard]] bool is_near(Index storage) const {
    return pass_.is_mobile(storage) && !pass_.is_far(storage, far_);
  }
  [[nodiscard]] bool is_of(const Block& block, Index storage) const {
    if (!is_near(storage)) return false;
    const Index made = pass_.uses(storage).made;
    return made >= block.first && made < block.last;
  }
  // Needed by the block's backward, or a later one.
  [[nodiscard]] bool is_needed(const Block& block, Index storage) const {
    return pass_.is_saved(storage) && pass_.uses(storage).last_backward >= block.back;
  }
  void sort_storages();
  void find_backwards();
  // Of what crosses no cut, cheapest first.
  [[nodiscard]] std::vector<Unit> units_of(const Block& block, Restoration& restoration) const;
  [[nodiscard]] bool crosses(const Block& block, Index storage) const {
    return pass_.uses(storage).last_forward >= block.last;
  }
  void find_options(Block& block, const Choice& choice, Restoration& restoration) const;
  [[nodiscard]] ChainStage measure(const Block& block, Profile& profile) const;

  const Replays& replays_;
  const Program& program_;
  const Pass& pass_;
  std::int64_t far_;
  std::vector<std::size_t> block_of_;  // by forward operator
  std::vector<Block> blocks_;
};

}  // namespace neap::planner
