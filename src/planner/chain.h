// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/chain.h: the cheapest way through a chain of stages and back, inside a number of bytes.
//
// Note [Chains]
// Stage i makes value i + 1 from value i; value 0 is always there and counts nowhere. A value is what crosses from one stage to the next:
// some of it may be of earlier values too, as a residual block's input is of each value inside of the block, and takes no memory twice. The
// backward of a stage needs value i, what a run of the stage saved, and the gradient of value i + 1, and makes that of value i. What
// a run saves, one of several options, holds value i + 1; the less that is, the longer the backward. Between two backwards the
// stages run in their order, from a value that is there to the stage whose backward is next. A schedule is persistent when what
// it keeps (a value as the start of a later run, or what a run saved) stays until the backward of its stage. ChainTable finds the
// cheapest persistent one: the dynamic program of "Optimal checkpointing for heterogeneous chains: how to train deep neural
// networks with limited memory", Beaumont et al., arXiv 1911.13214, with options, with values that share, with what a stage costs when
// it runs just for its backward, and with no gradient counted before the first backward.
//
// Note [Slots]
// The program counts in slots of equal size. What takes memory takes whole slots, so no result passes the budget; it may be dearer
// than the best. A slot is the greatest common divisor of all sizes, and the result the best one, when so few slots are
// enough; otherwise it has the size, near budget / slots, that rounds the least.
#pragma once

#include "graph/program.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace neap::planner {

using graph::Index;

struct ChainOption {
  std::int64_t kept = 0;         // bytes saved, the output's among them, the input's not
  std::int64_t backward_ns = 0;  // with what it makes again
  std::int64_t forward = 0;      // bytes on top of `kept` while the stage runs
  std::int64_t backward = 0;     // bytes on top of `kept` and the output's gradient meanwhile
  // The stage's run and its backward at once, when the stage ran before: the output need not be made again. No more than both.
  std::int64_t again_ns = 0;
  std::int64_t again = 0;  // bytes on top of the output's gradient meanwhile
};

struct ChainStage {
  std::int64_t ns = 0;        // of its forward
  std::int64_t output = 0;    // bytes of value i + 1
  std::int64_t forward = 0;   // bytes on top of input and output, when nothing is saved
  std::int64_t gradient = 0;  // bytes, of its output's
  // Bytes that the output has from value i, value i - 1 and so on; none from those that are left out at the end. What is of two
  // values is of those between.
  std::vector<std::int64_t> shared = {};
  std::vector<ChainOption> options = {};  // ways to save; one at least
};

// Forward: the stage's input, unless it is kept, goes with it. ForwardFromKept: the input stays as the start of later runs.
// ForwardSaving: it stays, and the option's bytes too.
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
  // For all budgets up to this one. Cost: stages^3 / 6 * slots steps of some 0.3 ns, stages^2 / 2 * slots * 8 bytes.
  // REQUIRES: `chain` outlives it; no size or time is negative.
  ChainTable(const std::vector<ChainStage>& chain, std::int64_t budget, std::int64_t slots);

  // Nothing: no persistent schedule fits. The same budget gives the same schedule.
  [[nodiscard]] std::optional<ChainSchedule> solve(std::int64_t budget) const;
  [[nodiscard]] std::int64_t slot() const { return slot_; }

 private:
  using Size = std::size_t;

  [[nodiscard]] Size slots_of(std::int64_t bytes) const {
    return static_cast<Size>((bytes + slot_ - 1) / slot_);
  }
  // The ns of stages first to last and back, by the slots that are free.
  [[nodiscard]] double* row(Size first, Size last) {
    return rows_.data() + (last * (last + 1) / 2 + first) * width_;
  }
  [[nodiscard]] const double* row(Size first, Size last) const {
    return rows_.data() + (last * (last + 1) / 2 + first) * width_;
  }
  // Of value `later`, what value `earlier` has not.
  [[nodiscard]] std::int64_t more(Size earlier, Size later) const {
    const ChainStage& maker = chain_[later - 1];
    const Size between = later - 1 - earlier;
    const bool shares = earlier > 0 && between < maker.shared.size();
    return maker.output - (shares ? maker.shared[between] : 0);
  }
  // While stage `stage` runs and nothing of it is saved; value `first` is there anyway.
  [[nodiscard]] std::int64_t forward(Size first, Size stage) const {
    return (stage > first ? more(first, stage) : 0) + more(stage, stage + 1) +
           chain_[stage].forward;
  }
  // Held while stages up to `last` are run: the gradient that the first of their backwards will read.
  [[nodiscard]] std::int64_t gradient(Size last) const {
    return last + 1 < chain_.size() ? chain_[last].gradient : 0;
  }
  struct Saving {
    Size least;  // slots that must be free
    Size kept;   // slots, for the stages after it
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
  // Visits the ways to run from value `first` to a later one, nearest first, until visit(cut) says true.
  template <class Visit>
  void for_each_cut(Size first, Size last, Visit visit) const;
  void fill(Size first, Size last);
  void append(Size first, Size last, Size free, std::vector<ChainStep>& steps) const;

  const std::vector<ChainStage>& chain_;
  std::int64_t slot_ = 1;
  Size width_ = 1;  // of a row: the most slots, and one
  std::vector<double> rows_;
};

}  // namespace neap::planner
