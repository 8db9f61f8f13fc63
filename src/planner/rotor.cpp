// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/blocks.h"
#include "planner/segments.h"
#include "planner/trial.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>

namespace neap::planner {
namespace {

constexpr std::int64_t kSlots = 500;

// How a forward is cut. Many blocks leave the choice to the dynamic program of the chain. Few
// blocks leave it to their options, which know what is cheap to recompute across several layers.
// Which is better depends on the budget: for each of these shapes, some trace and budget was found
// for which it gave the cheapest schedule. Large traces have time for the first ones only.
struct Shape {
  std::int64_t far;  // Grain's, as divisors of what the backward needs
  std::int64_t limit;
  std::size_t blocks;  // number, about
  bool coarse;
  std::size_t levels;  // Choice's
};
constexpr std::array<Shape, 22> kShapes = {{
    {3, 3, 96, true, 8},   {3, 10, 48, false, 8}, {3, 8, 24, false, 12}, {3, 3, 24, true, 8},
    {1, 8, 24, false, 12}, {3, 3, 11, true, 12},  {1, 5, 16, false, 12}, {3, 20, 96, false, 8},
    {3, 20, 36, false, 8}, {3, 10, 30, false, 8}, {3, 3, 16, true, 12},  {3, 3, 8, true, 16},
    {3, 3, 5, true, 16},   {3, 2, 3, true, 24},   {3, 5, 16, false, 12}, {3, 4, 11, false, 12},
    {3, 3, 8, false, 16},  {1, 20, 36, false, 8}, {1, 4, 11, false, 12}, {1, 3, 8, false, 16},
    {1, 2, 5, false, 16},  {1, 1, 3, false, 24},
}};

std::int64_t most_bytes(const std::vector<ChainStage>& chain) {
  std::int64_t most = 0;
  std::int64_t kept = 0;
  for (const ChainStage& stage : chain) {
    const ChainOption& all = stage.options.front();
    kept += all.kept;
    most = std::max(most, kept + stage.gradient + std::max(all.backward, all.forward));
  }
  return most;
}

// A pass as a chain. `besides`: the bytes of the pass's peak that are not the chain's.
struct Link {
  Blocks blocks;
  std::vector<ChainStage> chain;
  std::int64_t besides;
  ChainTable table;

  Link(const Replays& replays, const Pass& pass, const std::vector<Index>& cuts, std::int64_t far,
       std::size_t levels, std::int64_t peak, std::int64_t budget)
      : blocks(replays, pass, cuts, far, {levels, true}),
        chain(blocks.measure()),
        besides(peak - most_bytes(chain)),
        table(chain, std::min(most_bytes(chain), (budget - besides) * 3 / 2), kSlots) {}
};

class Rotor {
 public:
  Rotor(const Replays& replays, const std::vector<Pass>& passes, std::int64_t budget)
      : replays_(replays), passes_(passes), budget_(budget), trial_(replays, budget) {}

  std::optional<std::vector<GroupRerun>> turn() {
    if (trial_.take({})) return std::vector<GroupRerun>{};
    if (passes_.empty()) return {};
    plain_ = trial_.schedule().peak();
    for (const Pass& pass : passes_) {
      peaks_.push_back(trial_.schedule().peak_between(pass.first(), pass.last()));
    }
    std::int64_t looks = 8'000'000;
    for (const Shape& shape : kShapes) {
      looks -= replays_.program().operators() * static_cast<std::int64_t>(shape.levels);
      if (looks > 0 || trains_.empty()) build(shape);
    }
    std::ranges::stable_sort(trains_, {}, &Train::promise);
    for (const Train& train : trains_) {
      if (left_ > 0) search(train);
    }
    return std::move(trial_).best();
  }

 private:
  struct Train {
    std::vector<std::unique_ptr<Link>> links;  // one for each pass
    double promise;                            // ns, by the chains' estimates
  };

  // Cuts every pass by the shape, and solves the chains that come out. Does nothing when an earlier
  // shape gave the same cuts.
  void build(const Shape& shape) {
    const std::vector<std::vector<Index>> cuts = cuts_of(shape);
    if (std::ranges::find(seen_, cuts) != seen_.end()) return;
    seen_.push_back(cuts);
    Train train{{}, 0};
    for (std::size_t i = 0; i < passes_.size(); ++i) {
      const std::int64_t far = passes_[i].saved_bytes() / shape.far;
      train.links.push_back(std::make_unique<Link>(replays_, passes_[i], cuts[i], far, shape.levels,
                                                   peaks_[i], budget_));
      train.promise += promise_of(*train.links.back());
    }
    trains_.push_back(std::move(train));
  }

  // The cuts of each pass. The time for a table grows with the cube of its blocks. So each pass
  // gets fewer blocks when there are many passes: all tables together take the time of one table
  // with shape.blocks.
  [[nodiscard]] std::vector<std::vector<Index>> cuts_of(const Shape& shape) const {
    const double share = std::cbrt(static_cast<double>(passes_.size()));
    const auto blocks =
        static_cast<std::size_t>(std::ceil(static_cast<double>(shape.blocks) / share));
    std::vector<std::vector<Index>> cuts;
    for (const Pass& pass : passes_) {
      const std::int64_t bytes = pass.saved_bytes();
      cuts.push_back(pass.cuts({.far = bytes / shape.far,
                                .limit = bytes / shape.limit,
                                .most = blocks,
                                .coarse = shape.coarse}));
    }
    return cuts;
  }

  // The time of the cheapest schedule of the chain inside the budget. Infinite: none fits, so the
  // train is tried last.
  [[nodiscard]] double promise_of(const Link& link) const {
    const auto schedule = link.table.solve(budget_ - link.besides);
    if (!schedule) return std::numeric_limits<double>::infinity();
    return static_cast<double>(schedule->ns);
  }

  // Tries the peak as the budget of the chains. nullopt: no schedule of the chains has a peak this
  // low.
  std::optional<bool> fits(const Train& train, std::int64_t peak) {
    Restoration restoration(replays_);
    for (const auto& link : train.links) {
      const auto schedule = link->table.solve(peak - link->besides);
      if (!schedule) return {};
      link->blocks.append(schedule->steps, restoration);
    }
    const std::vector<GroupRerun> reruns = restoration.reruns();
    left_ -= replays_.program().operators() + 4 * static_cast<std::int64_t>(reruns.size());
    // Too long to be useful.
    if (reruns.size() > 4 * static_cast<std::size_t>(replays_.program().operators())) return {};
    return trial_.take(reruns);
  }

  // The peak of a schedule is near that of the chains, but not equal. Finds the largest that fits,
  // since more bytes are cheaper.
  void search(const Train& train) {
    constexpr int kTries = 8;
    const std::int64_t slot = train.links.front()->table.slot();
    std::int64_t low = 0;  // fits, or is too little
    std::int64_t high = plain_;
    std::int64_t next = budget_;
    for (int i = 0; i < kTries && left_ > 0 && high - low > slot; ++i) {
      const std::optional<bool> result = fits(train, next);
      const std::int64_t guess = next + budget_ - trial_.schedule().peak();
      (result && !*result ? high : low) = next;
      next = result ? guess : low;
      if (next <= low || next >= high) next = low + (high - low) / (high < plain_ ? 2 : 16);
    }
  }

  const Replays& replays_;
  const std::vector<Pass>& passes_;
  std::int64_t budget_;
  Trial trial_;
  std::int64_t plain_ = 0;
  std::vector<std::int64_t> peaks_;  // of each pass
  std::vector<std::vector<std::vector<Index>>> seen_;
  std::vector<Train> trains_;
  // Limits the work of tried schedules, in operators and reruns; some 100 ns each.
  std::int64_t left_ = 6'000'000;
};

}  // namespace

std::optional<std::vector<GroupRerun>> rotor(const graph::Trace& trace, const Replays& replays,
                                             std::int64_t budget) {
  return Rotor(replays, passes_of(trace, replays), budget).turn();
}

}  // namespace neap::planner
