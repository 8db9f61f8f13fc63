// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/chain.h: the cheapest way through a chain of stages and back, inside a number of bytes.
//
// Note [Chains]
// Stage i makes value i + 1 from value i. Value 0 is always resident and is not counted. A value is
// what crosses from one stage to the next. Values may share memory, as a residual block's input is
// part of each value inside of the block; it counts once.
// The backward of a stage needs value i, what a run of the stage saved, and the gradient of
// value i + 1. It makes the gradient of value i. What a run saves, one of several options, includes
// value i + 1; the less it saves, the longer the backward takes. Between two backwards the stages
// run in their order, from a resident value to the stage whose backward is next.
// A schedule is persistent when what it keeps (a value as the start of a later run, or what a run
// saved) stays until the backward of its stage. ChainTable finds the cheapest persistent one, by
// the dynamic program of "Optimal checkpointing for heterogeneous chains: how to train deep neural
// networks with limited memory", Beaumont et al., arXiv 1911.13214. It adds options, values that
// share, the cost of a stage that runs just for its backward, and the absence of gradients before
// the first backward.
//
// Note [Slots]
// The dynamic program counts in slots of equal size. Sizes are rounded up to whole slots, so no
// result exceeds the budget, but it may be more expensive than the best. The slot is the greatest
// common divisor of all sizes when that gives few enough slots; then the result is optimal.
// Otherwise the slot has the size near budget / slots with the least rounding.
#pragma once

#include "graph/program.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace neap::planner {

using graph::Index;

struct ChainOption {
  std::int64_t kept = 0;         // bytes saved, with the output, without the input
  std::int64_t backward_ns = 0;  // with what it recomputes
  std::int64_t forward = 0;      // bytes in addition to `kept` while the stage runs
  std::int64_t backward = 0;     // bytes in addition to `kept` and the output's gradient
  // Run and backward at once, when the stage ran before and its output need not be made again. At
  // most the sum of both.
  std::int64_t again_ns = 0;
  std::int64_t again = 0;  // bytes in addition to the output's gradient
};

struct ChainStage {
  std::int64_t ns = 0;        // of its forward
  std::int64_t output = 0;    // bytes of value i + 1
  std::int64_t forward = 0;   // bytes in addition to input and output, when nothing is saved
  std::int64_t gradient = 0;  // bytes of its output's gradient
  // Bytes that the output shares with value i, value i - 1 and so on; trailing zeros may be
  // missing. What two values share is shared by all between.
  std::vector<std::int64_t> shared = {};
  std::vector<ChainOption> options = {};  // what a run can save; at least one
};

// Forward: frees the stage's input afterwards, unless it is kept. ForwardFromKept: the input stays
// as the start of later runs. ForwardSaving: the input stays, and the option's bytes too.
struct ChainStep {
  enum class Action : std::uint8_t { Forward, ForwardFromKept, ForwardSaving, Backward };
  Action action = Action::Forward;
  Index stage = 0;
  Index option = 0;  // of ForwardSaving

  bool operator==(const ChainStep&) const = default;
};

struct ChainSchedule {
  std::int64_t ns = 0;
  std::vector<ChainStep> steps = {};
};

class ChainTable {
 public:
  // Solves all budgets up to this one.
  // Cost: stages^3 / 6 * slots steps of some 0.3 ns, stages^2 / 2 * slots * 8 bytes.
  // REQUIRES: `chain` outlives it; no size or time is negative.
  ChainTable(const std::vector<ChainStage>& chain, std::int64_t budget, std::int64_t slots);

  // nullopt: no persistent schedule fits. Equal budgets give equal schedules.
  [[nodiscard]] std::optional<ChainSchedule> solve(std::int64_t budget) const;
  [[nodiscard]] std::int64_t slot() const { return slot_; }

 private:
  using Size = std::size_t;

  [[nodiscard]] Size slots_of(std::int64_t bytes) const {
    return static_cast<Size>((bytes + slot_ - 1) / slot_);
  }
  // The ns of stages first to last and back, by the number of free slots.
  [[nodiscard]] double* row(Size first, Size last) {
    return rows_.data() + (last * (last + 1) / 2 + first) * width_;
  }
  [[nodiscard]] const double* row(Size first, Size last) const {
    return rows_.data() + (last * (last + 1) / 2 + first) * width_;
  }
  // The bytes of value `later` that it does not share with value `earlier`.
  [[nodiscard]] std::int64_t more(Size earlier, Size later) const {
    const ChainStage& maker = chain_[later - 1];
    const Size between = later - 1 - earlier;
    const bool shares = earlier > 0 && between < maker.shared.size();
    return maker.output - (shares ? maker.shared[between] : 0);
  }
  // Bytes while stage `stage` runs and saves nothing. Value `first` is resident anyway.
  [[nodiscard]] std::int64_t forward(Size first, Size stage) const {
    return (stage > first ? more(first, stage) : 0) + more(stage, stage + 1) +
           chain_[stage].forward;
  }
  // Held while stages up to `last` run: the gradient that the first of their backwards reads.
  [[nodiscard]] std::int64_t gradient(Size last) const {
    return last + 1 < chain_.size() ? chain_[last].gradient : 0;
  }
  struct Saving {
    Size least;  // slots that must be free
    Size kept;   // slots that stay taken for the stages after it
    double ns;
  };
  // Runs the first stage so that its backward needs no other run.
  [[nodiscard]] Saving saving(Size first, Size last, const ChainOption& option) const;
  struct Cut {
    Size at;     // the value that is kept
    Size kept;   // slots
    Size least;  // slots that must be free to run to it
    double ns;   // of running to it
  };
  // Visits the ways to run from value `first` to a later one, nearest first, until visit(cut)
  // returns true.
  template <class Visit>
  void for_each_cut(Size first, Size last, Visit visit) const;
  void fill(Size first, Size last);
  void append(Size first, Size last, Size free, std::vector<ChainStep>& steps) const;

  const std::vector<ChainStage>& chain_;
  std::int64_t slot_ = 1;
  Size width_ = 1;  // of a row: the most slots, plus one
  std::vector<double> rows_;
};

}  // namespace neap::planner
