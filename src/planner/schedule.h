// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/schedule.h: which groups run again in which stage, which storages are loaded in which
// stage, and the bytes at every moment that follow from it.
//
// Note [Schedules]
// A schedule is a set of pairs (group, stage) and, with a tier, of pairs (storage, stage): the
// storage is loaded when the stage begins. Everything else follows: the latest maker or load before
// a use serves it, and a storage lives from a maker or load to the last use before the next one. So
// every set of allowed pairs is a plan, and pairs can be added and removed in any order; only
// memory and time change. (closure() and may_remove() handle the one exception, overwritten
// contents.) A load can have its copy in every plan: when the content was made, it was there. A
// load that serves no use is left out of the plan, and takes no bytes.
//
// Note [Moments]
// A moment is stage * (operators + 2) + operator. In stage t the reruns come in their order, then
// operator t itself. Storages that arrive after operator t live from moment (t, operators) on;
// those of the head live from before stage 0. What is loaded when stage t + 1 begins lives from
// moment (t, operators + 1) on. What must be resident at the end is used in the last stage, which
// has no operator.
//
// Invariants, checked by validate():
//   stage_peak(t) == bytes that live when t begins + the most that its own operators add
//   freed_ of a rerun == bytes of the storages whose lives end with it
//   rerun_ns() == sum of ns over all pairs
//   cost() == rerun_ns() + the sum of the prices of all loads
#pragma once

#include "planner/peak_tree.h"
#include "planner/replays.h"

#include <cstdint>
#include <span>
#include <vector>

namespace neap::planner {

using Moment = std::int64_t;

struct GroupRerun {
  Index group;
  Index stage;

  bool operator==(const GroupRerun&) const = default;
};

// The storage is loaded when the stage begins.
struct Load {
  Index storage;
  Index stage;

  bool operator==(const Load&) const = default;
};

inline std::int64_t ns_of(const Replays& replays, std::span<const GroupRerun> reruns) {
  std::int64_t ns = 0;
  for (const GroupRerun one : reruns) ns += replays.ns(one.group, one.stage);
  return ns;
}

class Schedule {
 public:
  explicit Schedule(const Replays& replays);

  [[nodiscard]] const Replays& replays() const { return replays_; }
  [[nodiscard]] const Program& program() const { return program_; }
  [[nodiscard]] Index stages() const { return program_.operators() + 1; }

  [[nodiscard]] bool has(GroupRerun rerun) const;
  // The reruns of a stage, by operator.
  [[nodiscard]] std::span<const Index> operators(Index stage) const {
    return reruns_[static_cast<std::size_t>(stage)];
  }
  // The pair, with the pairs that it needs in the same stage and that are not in the schedule;
  // empty: not allowed.
  [[nodiscard]] std::vector<GroupRerun> closure(GroupRerun rerun) const;
  // False when another pair of the stage needs it.
  [[nodiscard]] bool may_remove(GroupRerun rerun) const;
  // REQUIRES: for add(), an allowed pair that is not in the schedule, with its closure; for
  // remove(), a pair in it. Cost: logarithmic, plus the length of the touched stages at the next
  // query of the peak.
  void add(GroupRerun rerun);
  void remove(GroupRerun rerun);

  // Loads, in a step with a tier. REQUIRES: for add(), may_load() and not has(); for remove(),
  // has().
  [[nodiscard]] bool has_tier() const { return program_.has_tier(); }
  [[nodiscard]] bool may_load(Load load) const;
  [[nodiscard]] bool has(Load load) const;
  void add(Load load);
  void remove(Load load);
  // The storages that are loaded when the stage begins, sorted.
  [[nodiscard]] std::span<const Index> loaded(Index stage) const {
    if (loads_.empty()) return {};
    return loads_[static_cast<std::size_t>(stage)];
  }
  [[nodiscard]] std::vector<Load> loads() const;
  [[nodiscard]] std::size_t load_count() const { return load_count_; }
  // Whether something uses what the load brings.
  [[nodiscard]] bool serves(Load load) const;
  // What a search takes a load for, in ns for each ns of its copy in and out; at first 0. A copy
  // that hides costs nothing, but each one takes the place of another one.
  void set_copy_price(double price);
  [[nodiscard]] std::int64_t price_of(Index storage) const {
    return prices_[static_cast<std::size_t>(storage)];
  }

  // ns of reruns, and the prices of the loads.
  [[nodiscard]] std::int64_t cost() const { return cost_ + copy_cost_; }
  [[nodiscard]] std::int64_t rerun_ns() const { return cost_; }
  // The ns of the stage's reruns and its own operator.
  [[nodiscard]] std::int64_t stage_ns(Index stage) const;
  [[nodiscard]] std::size_t size() const { return pairs_; }
  std::int64_t peak();
  // The first stage that reaches the peak, and the moment in it.
  Index peak_stage();
  [[nodiscard]] Moment peak_moment(Index stage) const;
  std::int64_t stage_peak(Index stage);
  // By stage, in linear time.
  void stage_peaks(std::vector<std::int64_t>& peaks);
  // The largest peak of stages [first, last).
  std::int64_t peak_between(Index first, Index last);

  // The events of a storage before and after a moment at which it lives without being used or made.
  struct Gap {
    Moment before;
    Moment after;
    bool lives;
  };
  [[nodiscard]] Gap gap(Index storage, Moment moment) const;
  // The last moment before `moment` at which it was made or used.
  [[nodiscard]] Moment event_before(Index storage, Moment moment) const;
  [[nodiscard]] bool lives_at(Index storage, Moment moment) const;
  [[nodiscard]] Index stage_of(Moment moment) const {
    return moment < 0 ? kNone : static_cast<Index>(moment / width_);
  }
  [[nodiscard]] Moment moment(Index stage, Index op) const {
    return static_cast<Moment>(stage) * width_ + op;
  }
  // Before the head: -1. Its operators() is for what arrives, operators() + 1 for loads.
  [[nodiscard]] Index operator_of(Moment moment) const {
    return static_cast<Index>(moment % width_);
  }
  [[nodiscard]] Moment load_moment(Index stage) const {
    return moment(stage - 1, program_.operators() + 1);
  }
  [[nodiscard]] bool is_load_moment(Moment moment) const {
    return moment >= 0 && moment % width_ == width_ - 1;
  }
  // Events of one storage, sorted: moment * 2 + 1 when it is made or loaded, moment * 2 when it is
  // used.
  using Events = std::vector<std::int64_t>;
  [[nodiscard]] const Events& events(Index storage) const {
    return events_[static_cast<std::size_t>(storage)];
  }
  static constexpr bool is_make(std::int64_t event) { return (event & 1) != 0; }
  static constexpr Moment moment_of(std::int64_t event) { return event >> 1; }
  // True when the moment is the storage's last event, or its last before it is remade.
  [[nodiscard]] bool ends_at(Index storage, Moment moment) const;

  // All pairs. Adding them to an empty schedule restores this one.
  [[nodiscard]] std::vector<GroupRerun> reruns() const;
  // For tests. Throws: std::logic_error when an invariant does not hold.
  void validate();

 private:
  [[nodiscard]] std::vector<Index> users_and_writers(Index storage) const;
  void add_use(Index storage, Moment moment);
  void remove_use(Index storage, Moment moment);
  void add_make(Index storage, Moment moment);
  void remove_make(Index storage, Moment moment);
  void enter(Index storage, Moment from, Moment to, std::int64_t sign);
  // +1: a life of the storage ends at the moment; -1: it no longer does. Ignores the head and the
  // program's own operators.
  void count_end(Index storage, Moment moment, std::int64_t sign);
  void touch(Moment moment);
  void settle();
  [[nodiscard]] std::int64_t own_peak(Index stage, Moment* where) const;

  const Replays& replays_;
  const Program& program_;
  Moment width_;
  std::vector<Events> events_;
  std::vector<std::vector<Index>> reruns_;        // rerun operators, by stage
  std::vector<std::vector<std::int64_t>> freed_;  // bytes freed after each of them
  std::vector<std::int64_t> own_;                 // by stage: what its operators add
  std::vector<std::int64_t> most_extra_;  // by operator: workspace, or what arrives after it
  PeakTree tree_;                         // at stage + 1; the head is at 0
  std::vector<Index> touched_;
  std::vector<bool> is_touched_;
  std::int64_t cost_ = 0;
  std::size_t pairs_ = 0;
  // Empty without a tier.
  std::vector<std::vector<Index>> loads_;  // by stage
  std::vector<std::int64_t> prices_;       // of a load, by storage
  std::vector<std::int64_t> rerun_ns_;     // by stage
  std::int64_t copy_cost_ = 0;
  std::size_t load_count_ = 0;
};

}  // namespace neap::planner
