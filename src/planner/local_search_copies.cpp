// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The part of local search that knows the tier: see Note [Two ways back].
#include "planner/local_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace neap::planner {

std::int64_t LocalSearch::total() {
  if (!tier_ || schedule_.load_count() == 0) return schedule_.rerun_ns();
  transfers_->place(schedule_, tier_->budget);
  return schedule_.rerun_ns() + transfers_->waited();
}

bool LocalSearch::tier_has_room() {
  return tier_->limit == Transfers::kNoLimit || total() < Transfers::kTooMuch;
}

// What the gap is too short for, with a copy out and one in.
std::int64_t LocalSearch::unhidden(Index storage, const Schedule::Gap& gap) const {
  const auto begin = [&](Moment moment) {
    return begins_[static_cast<std::size_t>(std::max(schedule_.stage_of(moment), 0))];
  };
  const std::int64_t there_and_back = transfers_->out_ns(storage) + transfers_->in_ns(storage);
  return std::max<std::int64_t>(0, there_and_back - (begin(gap.after) - begin(gap.before)));
}

// All storages that can be loaded after the moment of the peak.
void LocalSearch::find_loads(Moment moment, std::int64_t over) {
  for (const Index storage : loadable_) {
    const Schedule::Gap gap = schedule_.gap(storage, moment);
    if (!gap.lives) continue;
    const Load load{storage, schedule_.stage_of(gap.after)};
    if (schedule_.load_moment(load.stage) <= moment || !schedule_.may_load(load)) continue;
    const double bytes = static_cast<double>(std::min(program_.storage(storage).bytes, over));
    const double jitter = 1 + 0.2 * uniform();
    const std::int64_t ns = unhidden(storage, gap);
    drops_.push_back({storage, load.stage,
                      static_cast<double>(schedule_.price_of(storage) + ns + 100) / bytes * jitter,
                      true, ns});
  }
}

// Frees the storage at the moment, and loads it for its next use.
bool LocalSearch::drop_by_load(Index storage, Moment moment) {
  const Schedule::Gap gap = schedule_.gap(storage, moment);
  if (!gap.lives) return false;
  const Load load{storage, schedule_.stage_of(gap.after)};
  if (schedule_.load_moment(load.stage) <= moment || !schedule_.may_load(load)) return false;
  if (schedule_.has(load)) return false;
  add(load);
  // An earlier load may have brought it for this use alone.
  if (schedule_.is_load_moment(gap.before)) {
    const Load before{storage, schedule_.stage_of(gap.before) + 1};
    if (!schedule_.serves(before)) remove(before);
  }
  return true;
}

bool LocalSearch::bring_by_load(Index storage, Index stage) {
  const Load load{storage, stage};
  if (!schedule_.may_load(load) || schedule_.has(load)) return false;
  add(load);
  if (schedule_.serves(load)) return true;
  remove(load);
  return false;
}

// What must not run again, or takes longer than the price of a load.
bool LocalSearch::is_cheaper_by_load(Index storage, Index stage) const {
  const Index maker = program_.storage(storage).maker;
  if (maker == kNone) return true;
  const Index group = replays_.group_of(maker);
  return !replays_.may_rerun(group, stage) ||
         schedule_.price_of(storage) < replays_.ns(group, stage);
}

// Whether the step is no slower than `now`, which is what it takes then. A long step is not looked
// at: each look is linear.
bool LocalSearch::keeps_time(std::int64_t& now) {
  constexpr Index kMostOperators = 6000;
  if (program_.operators() > kMostOperators || schedule_.load_count() == 0) return true;
  const std::int64_t then = total();
  if (then > now) return false;
  now = then;
  return true;
}

// Removes loads that the budget has room for, where that takes no time.
void LocalSearch::tidy_loads() {
  std::vector<Load> all = schedule_.loads();
  std::ranges::stable_sort(all, std::ranges::greater{},
                           [&](Load one) { return program_.storage(one.storage).bytes; });
  std::int64_t now = std::numeric_limits<std::int64_t>::max();
  (void)keeps_time(now);
  for (const Load one : all) {
    if (deadline_.has_passed()) break;
    const std::size_t mark = journal_.size();
    const bool serves = schedule_.serves(one);
    remove(one);
    if (serves && (schedule_.peak() > budget_ || !keeps_time(now))) roll_back(mark);
  }
}

// Drops until the peak fits again.
bool LocalSearch::fit_again(std::int64_t most_cost) {
  constexpr int kMostDrops = 24;
  for (int i = 0; i < kMostDrops && schedule_.peak() > budget_; ++i) {
    if (schedule_.cost() > most_cost || !relieve(most_cost - schedule_.cost())) return false;
  }
  return schedule_.peak() <= budget_;
}

// Brings back by loads what the rerun makes. False: that is not possible.
bool LocalSearch::exchange(GroupRerun rerun) {
  std::vector<Index> makes;
  for (const Index op : replays_.operators(rerun.group, rerun.stage)) {
    for (const Index storage : program_.makes(op)) {
      if (!schedule_.ends_at(storage, schedule_.moment(rerun.stage, op))) makes.push_back(storage);
    }
  }
  remove(rerun);
  prune(rerun);
  for (const Index storage : makes) {
    const Load load{storage, rerun.stage};
    if (!schedule_.may_load(load)) return false;
    if (!schedule_.has(load)) add(load);
    if (!schedule_.serves(load)) remove(load);
  }
  return true;
}

// A load goes, or becomes a rerun.
bool LocalSearch::change(Load load, std::int64_t most_cost) {
  const Moment before = schedule_.event_before(load.storage, schedule_.load_moment(load.stage));
  remove(load);
  const Index maker = program_.storage(load.storage).maker;
  if (maker != kNone && random_() % 2 == 0 && schedule_.stage_of(before) < load.stage) {
    (void)drop(load.storage, load.stage, schedule_.load_moment(load.stage), most_cost);
  }
  return fit_again(most_cost);
}

// As improve(), by the time of reruns and waits.
void LocalSearch::improve_both(std::int64_t changes) {
  struct Item {
    GroupRerun rerun;
    Load load;
  };
  const auto items = [&] {
    std::vector<Item> all;
    for (const GroupRerun one : schedule_.reruns()) all.push_back({one, {kNone, 0}});
    for (const Load one : schedule_.loads()) all.push_back({{}, one});
    return all;
  };
  std::vector<Item> all = items();
  std::int64_t now = total();
  std::int64_t best = now;
  std::vector<GroupRerun> best_reruns = schedule_.reruns();
  std::vector<Load> best_loads = schedule_.loads();
  constexpr double kHeat = 0.003;
  constexpr double kMostHeat = 0.4;
  const double heat =
      static_cast<double>(best) *
      std::min(kHeat, kMostHeat / static_cast<double>(std::max<std::size_t>(1, all.size())));
  for (std::int64_t i = 0; i < changes && !all.empty() && now > 0; ++i) {
    if (i % 16 == 0 && deadline_.has_passed()) break;
    const double left = 1 - static_cast<double>(i) / static_cast<double>(changes);
    const auto slack = static_cast<std::int64_t>(heat * left * left * -std::log(1 - uniform()));
    const std::size_t pick = random_() % all.size();
    const Item item = all[pick];
    const bool is_load = item.load.storage != kNone;
    if (is_load ? !schedule_.has(item.load) : !schedule_.has(item.rerun)) {
      all[pick] = all.back();
      all.pop_back();
      continue;
    }
    // A change may cost more by its prices, and less by the time: it may do away with waits.
    const std::int64_t waits = now - schedule_.rerun_ns();
    const std::int64_t allowed =
        schedule_.cost() + slack +
        2 * waits / static_cast<std::int64_t>(std::max<std::size_t>(1, schedule_.load_count())) +
        now / 64;
    bool fits = false;
    if (is_load) {
      fits = change(item.load, allowed);
    } else if (schedule_.may_remove(item.rerun)) {
      const auto way = random_() % 5;
      fits = way == 0 ? exchange(item.rerun) : way == 1 && shift(item.rerun);
      if (way >= 2) {
        remove(item.rerun);
        prune(item.rerun);
        fits = true;
      }
      fits = fits && fit_again(allowed);
    }
    const std::int64_t then = fits ? total() : 0;
    if (!fits || then > now + slack) {
      roll_back(0);
      continue;
    }
    now = then;
    for (const Change& made : journal_) {
      if (made.added) all.push_back({made.rerun, made.load});
    }
    journal_.clear();
    if (now < best) {
      best = now;
      best_reruns = schedule_.reruns();
      best_loads = schedule_.loads();
    }
    if (all.size() > 4 * (schedule_.size() + schedule_.load_count()) + 16) all = items();
  }
  for (const GroupRerun one : schedule_.reruns()) schedule_.remove(one);
  for (const Load one : schedule_.loads()) schedule_.remove(one);
  for (const GroupRerun one : best_reruns) schedule_.add(one);
  for (const Load one : best_loads) schedule_.add(one);
}

}  // namespace neap::planner
