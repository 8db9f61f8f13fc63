// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/passes.h: the forwards of a step with their backwards, what a forward leaves for its
// backward, and where it can be cut.
//
// Note [Cuts]
// A cut at operator p divides the forward into what runs before p and what runs from p on. A
// storage crosses the cut when it is made before and read after it, in the forward. In a chain of
// blocks only the block's output crosses between two blocks, while more crosses inside of them. So
// cuts are removed by what crosses them, the most first. Coarsely: as long as something that
// crosses the cut also crosses a neighbour, or what crosses it is much cheaper to recompute than
// what crosses a neighbour. Finely: as long as there are too many. A cut that is crossed by much
// that the backward does not need is removed too. A storage that crosses cuts that are far
// apart (a mask for all layers, a U-Net's skips) is far: it crosses everywhere, and is ignored.
#pragma once

#include "planner/replays.h"

#include <cstdint>
#include <vector>

namespace neap::planner {

// One forward, operators [first, turn), and its backward, [turn, last). A step that accumulates
// gradients has several.
class Pass {
 public:
  struct Uses {
    Index made;
    Index last_forward;    // equals `made` when the forward does not read it
    Index first_backward;  // kNone: the backward does not need it
    Index last_backward;
    // Made by this forward, dead after the pass, and may be remade when it is first needed.
    bool mobile;
  };

  Pass(const Replays& replays, Index first, Index turn, Index last);

  [[nodiscard]] Index first() const { return first_; }
  [[nodiscard]] Index turn() const { return turn_; }
  [[nodiscard]] Index last() const { return last_; }
  // The range of storages that may be its own: [first_storage, last_storage).
  [[nodiscard]] Index first_storage() const { return first_storage_; }
  [[nodiscard]] Index last_storage() const {
    return first_storage_ + static_cast<Index>(uses_.size());
  }
  [[nodiscard]] std::size_t storages() const { return uses_.size(); }
  [[nodiscard]] bool is_mobile(Index storage) const {
    return storage >= first_storage_ && storage < last_storage() && uses(storage).mobile;
  }
  // REQUIRES: `storage` is in that range.
  [[nodiscard]] const Uses& uses(Index storage) const {
    return uses_[static_cast<std::size_t>(storage - first_storage_)];
  }
  // Mobile, and needed by the backward.
  [[nodiscard]] bool is_saved(Index storage) const {
    return is_mobile(storage) && uses(storage).first_backward != kNone;
  }
  [[nodiscard]] std::int64_t saved_bytes() const { return saved_before_.back(); }
  // The saved bytes of what is made in [first, op).
  [[nodiscard]] std::int64_t saved_before(Index op) const {
    return saved_before_[static_cast<std::size_t>(op - first_)];
  }

  // The distance and number of cuts, measured in bytes that the forward leaves to the backward.
  struct Grain {
    std::int64_t far;    // storages that cross more than this are ignored
    std::int64_t limit;  // the most of a segment, unless it is one operator or group
    std::size_t most;    // number of cuts, about
    bool coarse;
  };
  // Returns operators p, in order, without `first`. Cost: O(n log n).
  [[nodiscard]] std::vector<Index> cuts(const Grain& grain) const;
  [[nodiscard]] bool is_far(Index storage, std::int64_t far) const {
    return saved_before(uses(storage).last_forward) - saved_before(uses(storage).made + 1) > far;
  }

 private:
  const Replays& replays_;
  Index first_, turn_, last_;
  Index first_storage_ = 0;
  std::vector<Uses> uses_;
  std::vector<std::int64_t> saved_before_;
};

// The passes of the trace that have a backward, by the operators' phases.
std::vector<Pass> passes_of(const graph::Trace& trace, const Replays& replays);

}  // namespace neap::planner
