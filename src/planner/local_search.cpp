// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/local_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>

namespace neap::planner {

LocalSearch::LocalSearch(Schedule& schedule, std::int64_t budget, std::uint64_t seed,
                         Deadline deadline, std::optional<Tier> tier)
    : schedule_(schedule),
      replays_(schedule.replays()),
      program_(schedule.program()),
      budget_(budget),
      random_(seed),
      deadline_(std::move(deadline)),
      tier_(tier) {
  for (Index storage = 0; storage < program_.storages(); ++storage) {
    const Program::Storage& one = program_.storage(storage);
    if (one.given || one.bytes == 0 || !program_.op(one.maker).replayable) continue;
    droppable_.push_back(storage);
  }
  if (!tier_) return;
  transfers_.emplace(program_, tier_->limit);
  for (Index storage = 0; storage < program_.storages(); ++storage) {
    if (program_.storage(storage).bytes > 0) loadable_.push_back(storage);
  }
  begins_.push_back(0);
  for (Index op = 0; op < program_.operators(); ++op) {
    begins_.push_back(begins_.back() + program_.op(op).ns);
  }
}

void LocalSearch::add(GroupRerun rerun) {
  schedule_.add(rerun);
  journal_.push_back({rerun, {kNone, 0}, true});
}

void LocalSearch::remove(GroupRerun rerun) {
  schedule_.remove(rerun);
  journal_.push_back({rerun, {kNone, 0}, false});
}

void LocalSearch::add(Load load) {
  schedule_.add(load);
  journal_.push_back({{}, load, true});
}

void LocalSearch::remove(Load load) {
  schedule_.remove(load);
  journal_.push_back({{}, load, false});
}

void LocalSearch::roll_back(std::size_t mark) {
  while (journal_.size() > mark) {
    const Change change = journal_.back();
    journal_.pop_back();
    if (change.load.storage != kNone) {
      if (change.added) {
        schedule_.remove(change.load);
      } else {
        schedule_.add(change.load);
      }
    } else if (change.added) {
      schedule_.remove(change.rerun);
    } else {
      schedule_.add(change.rerun);
    }
  }
}

// Frees the storage at the moment, and remakes it in `stage`, that of its next use or an earlier
// one. Whatever its remaking needs, and would hold over the moment, is remade too.
// False: it cannot be freed, or costs too much; part of the change may be done.
bool LocalSearch::drop(Index storage, Index stage, Moment moment, std::int64_t most_cost) {
  const std::int64_t before = schedule_.cost();
  if (!schedule_.gap(storage, moment).lives) return false;
  std::vector<Index> pending{storage};
  while (!pending.empty()) {
    const Index next = pending.back();
    pending.pop_back();
    const Index maker = program_.storage(next).maker;
    if (tier_ && next != storage && is_cheaper_by_load(next, stage) && bring_by_load(next, stage)) {
      continue;
    }
    if (maker == kNone) continue;  // given: it stays
    const GroupRerun rerun{replays_.group_of(maker), stage};
    if (schedule_.has(rerun)) continue;
    // Its rerun would be before the moment.
    if (schedule_.moment(stage, maker) <= moment) {
      if (next == storage) return false;
      continue;
    }
    const std::vector<GroupRerun> all = schedule_.closure(rerun);
    if (all.empty()) {
      if (next == storage) return false;
      continue;
    }
    for (const GroupRerun one : all) {
      const auto ops = replays_.operators(one.group, stage);
      std::vector<Index> asleep;
      for (const Index op : ops) {
        for (const graph::Content& need : program_.needs(op)) {
          if (!schedule_.lives_at(need.storage, moment)) asleep.push_back(need.storage);
        }
      }
      add(one);
      for (const Index need : asleep) {
        if (schedule_.lives_at(need, moment)) pending.push_back(need);
      }
    }
    if (schedule_.cost() - before > most_cost) return false;
  }
  return true;
}

// Lowers the peak at the least price. False: nothing can.
bool LocalSearch::relieve(std::int64_t most_cost) {
  const Index stage = schedule_.peak_stage();
  if (stage == kNone) return false;
  const Moment moment = schedule_.peak_moment(stage);
  const std::int64_t peak = schedule_.peak();
  for (;;) {
    find_drops(moment, peak);
    const std::optional<Drop> best = best_drop({stage, moment, peak}, most_cost);
    if (!best) return false;
    if (!best->load) return drop(best->storage, best->stage, moment, most_cost);
    const std::size_t mark = journal_.size();
    if (drop_by_load(best->storage, moment) && tier_has_room()) return true;
    roll_back(mark);
    loadable_.erase(std::ranges::find(loadable_, best->storage));
  }
}

// All storages that can be freed at the moment of the peak, with the price of each by itself.
void LocalSearch::find_drops(Moment moment, std::int64_t peak) {
  const std::int64_t over = std::max<std::int64_t>(peak - budget_, 1);
  drops_.clear();
  for (const Index storage : droppable_) {
    const Schedule::Gap gap = schedule_.gap(storage, moment);
    if (!gap.lives) continue;
    const Index maker = program_.storage(storage).maker;
    const Index group = replays_.group_of(maker);
    const double bytes = static_cast<double>(std::min(program_.storage(storage).bytes, over));
    // Random, so that equal blocks are not all treated alike.
    const double jitter = 1 + 0.2 * uniform();
    const Index next = schedule_.stage_of(gap.after);
    // The alternative: remake it just before one of its inputs is overwritten, and hold it from
    // there.
    const Index before = std::min(next, replays_.intact_until(group));
    const std::array<Index, 2> stages{next, before};
    for (const Index at : std::span(stages).first(before < next ? 2 : 1)) {
      if (!replays_.may_rerun(group, at) || schedule_.moment(at, maker) <= moment) continue;
      if (schedule_.has(GroupRerun{group, at})) continue;
      drops_.push_back(
          {storage, at, static_cast<double>(replays_.ns(group, at) + 100) / bytes * jitter});
    }
  }
  if (tier_) find_loads(moment, over);
}

// Of the cheapest drops, the one that lowers the peak most for what it costs. When none
// of them lowers it, the first after them that does.
std::optional<LocalSearch::Drop> LocalSearch::best_drop(const Peak& peak, std::int64_t most_cost) {
  constexpr std::size_t kCheapest = 6, kMostTried = 4 * kCheapest;
  const std::size_t cheapest = std::min(kCheapest, drops_.size());
  std::ranges::partial_sort(drops_, drops_.begin() + static_cast<std::ptrdiff_t>(cheapest), {},
                            &Drop::price);
  std::optional<Drop> best;
  double most = 0;
  for (std::size_t i = 0; i < std::min(kMostTried, drops_.size()); ++i) {
    if (i >= cheapest && best) break;
    const double gain = gain_of(drops_[i], peak, most_cost);
    if (gain <= most) continue;
    most = gain;
    best = drops_[i];
  }
  return best;
}

// The bytes by which the drop lowers the peak, for each ns that it costs; 0: it does not lower it.
// The drop is applied and rolled back, so that the price includes all that it changes.
double LocalSearch::gain_of(const Drop& one, const Peak& peak, std::int64_t most_cost) {
  const std::int64_t cost = schedule_.cost();
  const std::size_t mark = journal_.size();
  const bool dropped = one.load ? drop_by_load(one.storage, peak.moment)
                                : drop(one.storage, one.stage, peak.moment, most_cost);
  const std::int64_t freed =
      std::min(peak.bytes - budget_, peak.bytes - schedule_.stage_peak(peak.stage));
  const double paid = static_cast<double>(schedule_.cost() - cost + one.unhidden) + 100;
  const std::int64_t now = schedule_.peak();  // it may be higher in another stage
  roll_back(mark);
  return dropped && freed > 0 && now <= peak.bytes ? static_cast<double>(freed) / paid : 0;
}

bool LocalSearch::fit() {
  while (schedule_.peak() > budget_) {
    if (deadline_.has_passed() || !relieve(std::numeric_limits<std::int64_t>::max() / 2)) {
      return false;
    }
  }
  journal_.clear();
  return true;
}

// True when nothing outside of the group uses what it makes.
bool LocalSearch::is_idle(GroupRerun rerun) const {
  for (const Index op : replays_.operators(rerun.group, rerun.stage)) {
    for (const Index storage : program_.makes(op)) {
      Moment last = schedule_.moment(rerun.stage, op);
      for (const Index writer : program_.writers(storage)) {
        if (writer >= rerun.stage) break;
        last = std::max(last, schedule_.moment(rerun.stage, writer));
      }
      if (!schedule_.ends_at(storage, last)) return false;
      if (last != schedule_.moment(rerun.stage, op)) {
        // It may be read between two writers.
        if (!schedule_.may_remove(rerun)) return false;
      }
    }
  }
  return true;
}

// Removes reruns of the stage that only the removed one used, and so on.
void LocalSearch::prune(GroupRerun removed) {
  std::vector<GroupRerun> pending{removed};
  while (!pending.empty()) {
    const GroupRerun gone = pending.back();
    pending.pop_back();
    for (const Index op : replays_.operators(gone.group, gone.stage)) {
      for (const graph::Content& need : program_.needs(op)) {
        const Index maker = program_.storage(need.storage).maker;
        if (maker == kNone) continue;
        const GroupRerun other{replays_.group_of(maker), gone.stage};
        if (!schedule_.has(other) || !is_idle(other)) continue;
        remove(other);
        pending.push_back(other);
      }
    }
  }
}

// Moves the rerun to an earlier stage, where something that it needs is made or used anyway.
// False: there is none.
bool LocalSearch::shift(GroupRerun rerun) {
  const auto ops = replays_.operators(rerun.group, rerun.stage);
  const Index op = ops[random_() % ops.size()];
  const auto needs = program_.needs(op);
  if (needs.empty()) return false;
  const Index need = needs[random_() % needs.size()].storage;
  const Index stage =
      schedule_.stage_of(schedule_.event_before(need, schedule_.moment(rerun.stage, op)));
  if (stage == kNone || stage >= rerun.stage) return false;
  const GroupRerun moved{rerun.group, stage};
  if (schedule_.has(moved) || schedule_.closure(moved).size() != 1) return false;
  remove(rerun);
  add(moved);
  prune(rerun);
  return true;
}

void LocalSearch::tidy() {
  // A pass over thousands of reruns takes time, and after the first few there is seldom more than
  // this share to gain.
  constexpr std::int64_t kWorthAnother = 200;
  std::int64_t before = 0;
  std::int64_t now = std::numeric_limits<std::int64_t>::max();
  if (tier_) (void)keeps_time(now);
  do {
    before = schedule_.cost();
    std::vector<GroupRerun> all = schedule_.reruns();
    std::ranges::stable_sort(all, std::ranges::greater{},
                             [&](GroupRerun one) { return replays_.ns(one.group, one.stage); });
    for (const GroupRerun one : all) {
      if (!schedule_.has(one) || !schedule_.may_remove(one)) continue;
      if (deadline_.has_passed()) break;
      const std::size_t mark = journal_.size();
      remove(one);
      prune(one);
      if (schedule_.peak() > budget_ || (tier_ && !keeps_time(now))) roll_back(mark);
    }
  } while (before - schedule_.cost() > before / kWorthAnother && !deadline_.has_passed());
  if (tier_) tidy_loads();
  journal_.clear();
}

// One change, and drops until the peak fits again. False: that costs more than `most_cost`;
// everything is as before then.
bool LocalSearch::change(GroupRerun rerun, std::int64_t most_cost) {
  if (!schedule_.may_remove(rerun)) return false;
  constexpr int kShifts = 2;  // of 5 changes
  if (random_() % 5 < kShifts) {
    if (!shift(rerun)) return false;
  } else {
    remove(rerun);
    prune(rerun);
  }
  constexpr int kMostDrops = 24;
  for (int i = 0; i < kMostDrops && schedule_.peak() > budget_; ++i) {
    if (schedule_.cost() > most_cost || !relieve(most_cost - schedule_.cost())) break;
  }
  if (schedule_.peak() <= budget_ && schedule_.cost() <= most_cost) return true;
  roll_back(0);
  return false;
}

// Simulated annealing: slightly worse plans are accepted, ever fewer of them.
void LocalSearch::improve(std::int64_t changes) {
  if (tier_) return improve_both(changes);
  std::vector<GroupRerun> all = schedule_.reruns();
  std::vector<GroupRerun> best = all;
  std::int64_t best_cost = schedule_.cost();
  // Shares of the cost, and of the mean rerun. Without the second, among thousands of reruns each
  // change could lose several (an LSTM of cells at 30 % took 37.0 % more time by its plan without
  // it, and 36.4 % with it).
  constexpr double kHeat = 0.003;
  constexpr double kMostHeat = 0.4;
  const double heat =
      static_cast<double>(best_cost) *
      std::min(kHeat, kMostHeat / static_cast<double>(std::max<std::size_t>(1, all.size())));
  for (std::int64_t i = 0; i < changes && !all.empty(); ++i) {
    if (i % 16 == 0 && deadline_.has_passed()) break;
    const double left = 1 - static_cast<double>(i) / static_cast<double>(changes);
    const double slack = heat * left * left * -std::log(1 - uniform());
    const std::size_t pick = random_() % all.size();
    const GroupRerun rerun = all[pick];
    if (!schedule_.has(rerun)) {
      all[pick] = all.back();
      all.pop_back();
      continue;
    }
    if (change(rerun, schedule_.cost() + static_cast<std::int64_t>(slack))) {
      for (const Change& made : journal_) {
        if (made.added) all.push_back(made.rerun);
      }
      if (schedule_.cost() < best_cost) {
        best_cost = schedule_.cost();
        best = schedule_.reruns();
      }
    }
    journal_.clear();
    // Each rerun is in the list at least once, but not many times.
    if (all.size() > 4 * schedule_.size() + 16) all = schedule_.reruns();
  }
  for (const GroupRerun one : schedule_.reruns()) schedule_.remove(one);
  for (const GroupRerun one : best) schedule_.add(one);
}

}  // namespace neap::planner
