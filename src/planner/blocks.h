// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/blocks.h: a pass as a chain of stages, and a schedule of the chain as reruns.
//
// Note [Blocks]
// Cuts part the forward into blocks. What crosses the cut behind a block is a value of Note [Chains]. What is far, Note [Cuts], is not part
// of the chain and is never made again. A block's backward begins at the first operator that needs something which no later
// block has read.
// Options: what is cheapest to make again, by ns a byte, is not kept, up to so many bytes, and comes back just before the backward needs it.
// What is made on the way to that stays until it is needed itself; in a frugal option it goes, and is made again then: less memory,
// and many more runs.
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
    std::size_t levels;  // how much is kept of a block, by ns a byte; two at least
    bool frugal;         // each level twice, of small blocks: Note [Blocks]
  };

  // `cuts` and `far`: Note [Cuts].
  Blocks(const Replays& replays, const Pass& pass, const std::vector<Index>& cuts, std::int64_t far,
         const Choice& choice);

  [[nodiscard]] Index size() const { return static_cast<Index>(blocks_.size()); }
  // Of a block; the first keeps all that the backward needs.
  [[nodiscard]] Index options(Index block) const {
    return static_cast<Index>(blocks_[static_cast<std::size_t>(block)].options.size());
  }
  // A stage for each block. Cost: a look at each operator for each option.
  [[nodiscard]] std::vector<ChainStage> measure() const;
  // Adds what runs again. REQUIRES: the steps are those of a persistent schedule.
  void append(const std::vector<ChainStep>& steps, Restoration& restoration) const;

 private:
  struct Option {
    std::vector<Index> kept;  // of what the block made
    bool frugal;
  };
  struct Block {
    Index first;  // of the forward: [first, last)
    Index last;
    Index back = kNone;  // of the backward: [back, over)
    Index over = kNone;
    std::vector<Index> own = {};      // made by it; not far
    std::vector<Index> outputs = {};  // crosses the cut behind it, whoever made it
    std::vector<Option> options = {};
  };
  // What comes back together: a group's results that the backward needs.
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
  // By the block's backward, or by one after it.
  [[nodiscard]] bool is_needed(const Block& block, Index storage) const {
    return pass_.is_saved(storage) && pass_.uses(storage).last_backward >= block.back;
  }
  void sort_storages();
  void find_backwards();
  // Of what crosses no cut, the cheapest first.
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
  std::vector<std::size_t> block_of_;  // of forward operators
  std::vector<Block> blocks_;
};

}  // namespace neap::planner
