// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/offload.h"

#include "planner/local_search.h"

#include <algorithm>
#include <optional>
#include <queue>
#include <string>
#include <utility>

namespace neap::planner {
namespace {

class Idle {
 public:
  Idle(Schedule& schedule, std::int64_t budget, std::int64_t limit)
      : schedule_(schedule),
        program_(schedule.program()),
        budget_(budget),
        limit_(limit),
        in_tier_(static_cast<std::size_t>(schedule.stages())),
        copied_until_(static_cast<std::size_t>(program_.storages()), kNone) {}

  // The first stage that does not fit; kNone: all do.
  Index run() {
    if (program_.head_bytes() > budget_) return 0;
    for (const Index storage : program_.arrivals(kNone)) note(storage, 0);
    for (Index stage = 0; stage < schedule_.stages(); ++stage) {
      // Before the stage's own uses are noted, which are no reason to keep anything over it.
      if (!make_room(stage)) return stage;
      for (const Index op : schedule_.operators(stage)) note_all(op, stage);
      if (stage < program_.operators()) note_all(stage, stage);
    }
    return kNone;
  }

 private:
  using Entry = std::pair<Moment, Index>;  // the next use, and the storage

  bool make_room(Index stage) {
    bool noted = false;
    std::vector<Entry> later;  // used in this stage
    while (schedule_.stage_peak(stage) > budget_) {
      if (idle_.empty()) {
        if (noted) break;
        // What the stage has used already may go too.
        noted = true;
        for (const Index op : schedule_.operators(stage)) note_all(op, stage);
        continue;
      }
      const auto [after, storage] = idle_.top();
      idle_.pop();
      const Moment peak = schedule_.peak_moment(stage);
      const Schedule::Gap gap = schedule_.gap(storage, peak);
      if (!gap.lives || gap.after != after) {
        const Schedule::Gap next = schedule_.gap(storage, schedule_.load_moment(stage + 1));
        if (next.lives && next.after == after) later.emplace_back(after, storage);
        continue;
      }
      const Index to = schedule_.stage_of(after);
      if (to <= stage || !schedule_.may_load({storage, to})) continue;
      if (!has_room(storage, std::max(schedule_.stage_of(gap.before), 0), to)) continue;
      schedule_.add(Load{storage, to});
      if (!schedule_.is_load_moment(gap.before)) continue;
      const Load before{storage, schedule_.stage_of(gap.before) + 1};
      if (!schedule_.serves(before)) schedule_.remove(before);
    }
    for (const Entry& one : later) idle_.push(one);
    return schedule_.stage_peak(stage) <= budget_;
  }

  // The copy is in the tier from its first free on, or earlier when there is room.
  bool has_room(Index storage, Index from, Index to) {
    if (limit_ == Transfers::kNoLimit) return true;
    Index& until = copied_until_[static_cast<std::size_t>(storage)];
    const auto first = static_cast<std::size_t>(std::max(from, until));
    const auto last = static_cast<std::size_t>(to) + 1;
    const std::int64_t bytes = program_.storage(storage).bytes;
    if (in_tier_.most(first, last) > limit_ - bytes) return false;
    in_tier_.add(first, last, bytes);
    until = to;
    return true;
  }

  void note_all(Index op, Index stage) {
    for (const graph::Content& need : program_.needs(op)) note(need.storage, stage);
    for (const Index storage : program_.makes(op)) note(storage, stage);
    for (const Index storage : program_.mutates_once(op)) note(storage, stage);
    if (op == stage) {
      for (const Index storage : program_.arrivals(op)) note(storage, stage);
    }
  }

  // The storage is idle from the end of the stage until its next use.
  void note(Index storage, Index stage) {
    if (program_.storage(storage).bytes == 0 || stage + 1 >= schedule_.stages()) return;
    const Schedule::Gap gap = schedule_.gap(storage, schedule_.load_moment(stage + 1));
    if (gap.lives) idle_.emplace(gap.after, storage);
  }

  Schedule& schedule_;
  const Program& program_;
  std::int64_t budget_;
  std::int64_t limit_;
  std::priority_queue<Entry> idle_;  // the longest first
  PeakTree in_tier_;
  std::vector<Index> copied_until_;  // by storage: the stage of its last load
};

std::int64_t room_of(const Problem& problem, std::int64_t plain_peak, std::int64_t percent) {
  const std::int64_t above = plain_peak - problem.replays.program().head_bytes();
  return std::max<std::int64_t>(above, 0) * percent / 100;
}

// Of some methods, the plan of the least reruns for a larger budget.
std::optional<std::vector<GroupRerun>> quick_plan(Problem problem, std::int64_t budget) {
  problem.budget = budget;
  std::optional<std::vector<GroupRerun>> best;
  std::int64_t best_ns = 0;
  for (const Method& method : portfolio()) {
    if (!method.is_quick || problem.replays.program().operators() > method.most_operators) continue;
    auto reruns = method.find(problem);
    if (!reruns) continue;
    const std::int64_t ns = ns_of(problem.replays, *reruns);
    if (best && best_ns <= ns) continue;
    best = std::move(reruns);
    best_ns = ns;
  }
  return best;
}

constexpr Index kMostFromPlain = 3000;  // as of the start "peaks"
constexpr Index kMostMixed = 6000;      // with more operators, one mixture is enough

}  // namespace

bool offload_idle(Schedule& schedule, std::int64_t budget, std::int64_t limit) {
  constexpr int kMostTries = 64;
  for (int i = 0; i < kMostTries; ++i) {
    const Index stage = Idle(schedule, budget, limit).run();
    if (stage == kNone) return true;
    // The reruns of one stage may need more at once than there is. What they bring is copied then.
    std::vector<Index> ops(schedule.operators(stage).begin(), schedule.operators(stage).end());
    bool removed = false;
    for (std::size_t at = ops.size(); at-- > 0;) {
      const GroupRerun rerun{schedule.replays().group_of(ops[at]), stage};
      if (!schedule.has(rerun) || !schedule.may_remove(rerun)) continue;
      schedule.remove(rerun);
      removed = true;
    }
    if (!removed) return false;
  }
  return false;
}

std::vector<BothWays> both_ways(const Problem& problem, std::int64_t plain_peak,
                                std::int64_t floor) {
  std::vector<BothWays> all;
  const auto target = [&](std::int64_t percent) {
    // Near the floor there is no plan with that much room.
    return problem.budget - std::min(room_of(problem, plain_peak, percent),
                                     std::max<std::int64_t>(0, problem.budget - floor) / 2);
  };
  for (const std::int64_t percent : {0, 2, 6, 12}) {
    all.push_back({"idle longest, " + std::to_string(percent) + " % room", BothWays::Way::Idle, 0,
                   target(percent), 0.05});
  }
  for (const std::int64_t percent : {50, 20, 80, 95}) {
    if (percent != 50 && problem.replays.program().operators() > kMostMixed) break;
    all.push_back({"idle longest after " + std::to_string(percent) + " % reruns",
                   BothWays::Way::IdleAfterReruns, percent, target(2), 0.2});
  }
  if (problem.replays.program().operators() <= kMostFromPlain) {
    for (const std::int64_t percent : {10, 40, 100}) {
      all.push_back({"peaks, copies at " + std::to_string(percent) + " %", BothWays::Way::Peaks, 0,
                     target(2), static_cast<double>(percent) / 100});
    }
  }
  return all;
}

void find(BothWays& start, const Problem& problem, std::int64_t limit) {
  Schedule schedule(problem.replays);
  schedule.set_copy_price(start.price);
  const std::int64_t plain = schedule.peak();
  if (start.way == BothWays::Way::Peaks) {
    LocalSearch search(schedule, start.target, problem.seed, problem.deadline,
                       Tier{problem.budget, limit});
    if (!search.fit()) return;
  } else {
    if (start.way == BothWays::Way::IdleAfterReruns) {
      const std::int64_t easier =
          start.target + (plain - start.target) / 100 * (100 - start.rerun_percent);
      const auto reruns = quick_plan(problem, easier);
      if (!reruns) return;
      for (const GroupRerun one : *reruns) schedule.add(one);
      LocalSearch(schedule, easier, problem.seed, problem.deadline).tidy();
    }
    if (!offload_idle(schedule, start.target, limit)) return;
  }
  start.ns = LocalSearch(schedule, problem.budget, problem.seed, problem.deadline,
                         Tier{problem.budget, limit})
                 .total();
  start.found = start.ns < Transfers::kTooMuch;
  if (!start.found) return;
  start.reruns = schedule.reruns();
  start.loads = schedule.loads();
}

}  // namespace neap::planner
