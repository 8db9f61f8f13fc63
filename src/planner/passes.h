// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/passes.h: the forwards of a step with their backwards, what the one leaves for the other, and where a forward can be cut.
//
// Note [Cuts]
// A cut at operator p parts the forward into what runs before p and what runs from p on. What crosses it is made before and read after
// it, in the forward. In a chain of blocks only a block's output crosses between two blocks, while more crosses inside of them; so
// cuts go by what crosses, the most first: coarsely, as long as something crosses the cut that also crosses one beside it, or is much
// cheaper to make again than what crosses that one; or finely, as long as there are too many. One that is crossed by what the backward
// does not need goes in any case. What crosses cuts that are far apart (a mask for all layers, a U-Net's skips) is crossing
// everywhere and decides nothing.
#pragma once

#include "planner/replays.h"

#include <cstdint>
#include <vector>

namespace neap::planner {

// One forward, operators [first, turn), and its backward, [turn, last). A step that accumulates gradients has several.
class Pass {
 public:
  struct Uses {
    Index made;
    Index last_forward;    // `made`, when the forward does not read it
    Index first_backward;  // kNone: the backward does not need it
    Index last_backward;
    bool
        mobile;  // made by this forward, over when the pass is, and may be made again when it is first needed
  };

  Pass(const Replays& replays, Index first, Index turn, Index last);

  [[nodiscard]] Index first() const { return first_; }
  [[nodiscard]] Index turn() const { return turn_; }
  [[nodiscard]] Index last() const { return last_; }
  // Storages that may be its own: [first_storage, last_storage).
  [[nodiscard]] Index first_storage() const { return first_storage_; }
  [[nodiscard]] Index last_storage() const {
    return first_storage_ + static_cast<Index>(uses_.size());
  }
  [[nodiscard]] std::size_t storages() const { return uses_.size(); }
  [[nodiscard]] bool is_mobile(Index storage) const {
    return storage >= first_storage_ && storage < last_storage() && uses(storage).mobile;
  }
  // REQUIRES: one of its own.
  [[nodiscard]] const Uses& uses(Index storage) const {
    return uses_[static_cast<std::size_t>(storage - first_storage_)];
  }
  // Mobile, and the backward needs it.
  [[nodiscard]] bool is_saved(Index storage) const {
    return is_mobile(storage) && uses(storage).first_backward != kNone;
  }
  [[nodiscard]] std::int64_t saved_bytes() const { return saved_before_.back(); }
  // Of all that is made in [first, op).
  [[nodiscard]] std::int64_t saved_before(Index op) const {
    return saved_before_[static_cast<std::size_t>(op - first_)];
  }

  // How far apart, and of which size, in bytes that the forward leaves to the backward.
  struct Grain {
    std::int64_t far;    // what crosses so many is left out
    std::int64_t limit;  // of a segment, but for one operator or group
    std::size_t most;    // cuts, about
    bool coarse;
  };
  // Operators p, in order, none of them `first`. Cost: O(n log n).
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

// Those of the trace that have a backward, by the operators' phases.
std::vector<Pass> passes_of(const graph::Trace& trace, const Replays& replays);

}  // namespace neap::planner
