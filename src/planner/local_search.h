// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/local_search.h: fewer reruns inside the budget, one change after the other.
#pragma once

#include "planner/deadline.h"
#include "planner/schedule.h"

#include <optional>
#include <random>

namespace neap::planner {

class LocalSearch {
 public:
  LocalSearch(Schedule& schedule, std::int64_t budget, std::uint64_t seed, Deadline deadline = {});

  // Adds reruns until the peak fits. False: it found no way, or not by the deadline; the schedule is where it was given up.
  bool fit();
  // Takes away what the budget has room for, until a pass gains little, or the deadline.
  void tidy();
  // Takes reruns away, makes room for that by others, and keeps what became cheaper.
  // REQUIRES: the peak fits. Ends after so many changes, or at the deadline.
  void improve(std::int64_t changes);

 private:
  struct Change {
    Rerun rerun;
    bool added;
  };
  struct Drop {
    Index storage;
    Index stage;   // in which it is made again
    double price;  // ns a byte
  };
  // In [0, 1).
  double uniform() { return static_cast<double>(random_() >> 11) / 9007199254740992.0; }
  void add(Rerun rerun);
  void remove(Rerun rerun);
  void roll_back(std::size_t mark);
  bool drop(Index storage, Index stage, Moment moment, std::int64_t most_cost);
  bool relieve(std::int64_t most_cost);
  bool change(Rerun rerun, std::int64_t most_cost);
  bool shift(Rerun rerun);
  void prune(Rerun removed);
  [[nodiscard]] bool is_idle(Rerun rerun) const;

  Schedule& schedule_;
  const Replays& replays_;
  const Program& program_;
  std::int64_t budget_;
  std::mt19937_64 random_;
  Deadline deadline_;
  std::vector<Change> journal_;
  std::vector<Drop> drops_;
  std::vector<Index> droppable_;  // storages, made by what may run again
};

}  // namespace neap::planner
