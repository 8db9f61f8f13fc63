// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/local_search.h: reduces the reruns of a schedule inside the budget, change by change.
#pragma once

#include "planner/deadline.h"
#include "planner/schedule.h"

#include <optional>
#include <random>

namespace neap::planner {

class LocalSearch {
 public:
  LocalSearch(Schedule& schedule, std::int64_t budget, std::uint64_t seed, Deadline deadline = {});

  // Adds reruns until the peak fits. False: it found no way, or not before the deadline; the
  // schedule stays as it is then.
  bool fit();
  // Removes reruns that the budget has room for, until a pass gains little, or the deadline.
  void tidy();
  // Removes reruns, adds others to fit again, and keeps what is cheaper. Ends after `changes`, or
  // at the deadline.
  // REQUIRES: the peak fits.
  void improve(std::int64_t changes);

 private:
  struct Change {
    GroupRerun rerun;
    bool added;
  };
  struct Drop {
    Index storage;
    Index stage;   // in which it is remade
    double price;  // ns a byte
  };
  struct Peak {
    Index stage;
    Moment moment;
    std::int64_t bytes;
  };
  // In [0, 1).
  double uniform() { return static_cast<double>(random_() >> 11) / 9007199254740992.0; }
  void add(GroupRerun rerun);
  void remove(GroupRerun rerun);
  void roll_back(std::size_t mark);
  bool drop(Index storage, Index stage, Moment moment, std::int64_t most_cost);
  bool relieve(std::int64_t most_cost);
  void find_drops(Moment moment, std::int64_t peak);
  std::optional<Drop> best_drop(const Peak& peak, std::int64_t most_cost);
  double gain_of(const Drop& one, const Peak& peak, std::int64_t most_cost);
  bool change(GroupRerun rerun, std::int64_t most_cost);
  bool shift(GroupRerun rerun);
  void prune(GroupRerun removed);
  [[nodiscard]] bool is_idle(GroupRerun rerun) const;

  Schedule& schedule_;
  const Replays& replays_;
  const Program& program_;
  std::int64_t budget_;
  std::mt19937_64 random_;
  Deadline deadline_;
  std::vector<Change> journal_;
  std::vector<Drop> drops_;
  std::vector<Index> droppable_;  // storages whose makers may run again
};

}  // namespace neap::planner
