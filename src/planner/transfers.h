// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/transfers.h: where the copies of a schedule's loads stand in its plan, and how long the
// operators wait for them.
//
// Note [Transfers]
// A gap is the time between the last use of a storage and its next load: its memory is away. The
// schedule has each load in the stage of its use, and each free behind the last use, since no plan
// takes less memory. Where a budget leaves room, time is saved with it:
//   * a load stands so many stages earlier that its copy ends before the use;
//   * a free stands so many stages later that its copy has ended.
// Loads come first, from the last to the first, each as late as it may be. A copy out begins as
// soon as the queue is free and the content is there; of several, the one whose memory is to go
// first. So a plan never takes more than the budget where the schedule does not.
#pragma once

#include "planner/schedule.h"

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace neap::planner {

class Transfers {
 public:
  static constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();
  // What waited() is when the tier would have to hold more than its limit.
  static constexpr std::int64_t kTooMuch = std::numeric_limits<std::int64_t>::max() / 4;

  // A step of the plan, in the stage: behind the rerun of operator `after`, or when that is kNone,
  // before its first operator.
  struct Place {
    Index stage;
    Index after;
    graph::Step step;
  };

  // `limit`: of the bytes in the tier.
  explicit Transfers(const Program& program, std::int64_t limit = kNoLimit);

  // Finds the places of all copies. REQUIRES: a schedule of the program; its peak is inside the
  // budget. Cost: linear in the stages and reruns, plus n log n for n loads.
  void place(Schedule& schedule, std::int64_t budget);

  [[nodiscard]] std::int64_t out_ns(Index storage) const {
    return out_ns_[static_cast<std::size_t>(storage)];
  }
  [[nodiscard]] std::int64_t in_ns(Index storage) const {
    return in_ns_[static_cast<std::size_t>(storage)];
  }

  // Of the last schedule. The time by which operators wait for copies.
  [[nodiscard]] std::int64_t waited() const { return waited_; }
  [[nodiscard]] std::int64_t most_offloaded() const { return most_offloaded_; }
  // In the order of the plan.
  [[nodiscard]] std::span<const Place> places() const { return places_; }
  // Whether the life of the storage that ends at the moment ends with a gap, so that its free is
  // one of the places.
  [[nodiscard]] bool is_gap(Index storage, Moment moment) const;

 private:
  // A content that goes to the tier once, for one or more gaps.
  struct Content {
    Index storage;
    Index from;    // the stage when whose beginning it is there
    Moment until;  // the last use before its first gap
    Index loads = 0;
    bool begun = false;
    std::int64_t copied = 0;
    std::int64_t first = 0, last = 0;  // in places_: its offload, and its last load
  };
  struct Gap {
    std::size_t content;
    Moment begins;
    Moment use;   // the first after the load
    Index stage;  // of the load
    bool freed = false;
    std::int64_t ready = 0;
  };

  [[nodiscard]] std::int64_t bytes_of(const Gap& gap) const {
    return program_.storage(contents_[gap.content].storage).bytes;
  }
  void gather();
  void gather(Index storage);
  [[nodiscard]] Moment use_of(Index storage, std::size_t event) const;
  void prefetch();
  [[nodiscard]] std::int64_t begin_of(Moment use) const;
  void follow();
  void begin_stage(Index stage);
  void run_stage(Index stage);
  void start_gap(std::size_t gap, Index stage, Index after);
  void begin_copies(Index stage);
  void offload(std::size_t content, Index stage, Index after);
  void free(std::size_t gap, Index stage, Index after);
  void free_copied(Index stage);
  void load(std::size_t gap, Index stage);
  void wait_for(Moment use);
  void count_offloaded();

  const Program& program_;
  std::int64_t limit_;
  std::vector<std::int64_t> out_ns_, in_ns_;  // by storage
  Schedule* schedule_ = nullptr;

  std::vector<Content> contents_;
  std::vector<Gap> gaps_;             // by use
  std::vector<std::int64_t> room_;    // by stage: bytes that are left of the budget
  std::vector<std::int64_t> begins_;  // by stage, and the end: when nothing waits
  std::vector<std::size_t> by_begin_, by_load_, by_use_, by_content_;
  std::size_t next_begin_ = 0, next_load_ = 0, next_use_ = 0, next_content_ = 0;
  std::vector<std::size_t> open_;  // a heap of the contents that are there and not in the tier
  std::vector<std::size_t> held_;  // gaps that wait for their copy out, the first to end first
  std::int64_t held_bytes_ = 0;
  std::int64_t in_tier_ = 0;
  std::int64_t now_ = 0, out_free_ = 0, in_free_ = 0;
  std::vector<bool> seen_;                            // by storage
  std::vector<std::pair<Index, Moment>> gap_begins_;  // sorted
  std::vector<Place> places_;
  std::int64_t waited_ = 0;
  std::int64_t most_offloaded_ = 0;
};

}  // namespace neap::planner
