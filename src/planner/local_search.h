// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/local_search.h: reduces the reruns of a schedule, and the waits for its copies, inside
// the budget, change by change.
//
// Note [Two ways back]
// A drop frees a storage at a moment, and brings it back by a rerun or by a load. The price of a
// load is what the schedule says (Schedule::set_copy_price()), plus the part of its copies that the
// gap is too short for. What copies really cost depends on all of them at once, so improve() asks
// Transfers, and keeps what takes less time.
#pragma once

#include "planner/deadline.h"
#include "planner/schedule.h"
#include "planner/transfers.h"

#include <optional>
#include <random>
#include <vector>

namespace neap::planner {

// What a search knows of the tier.
struct Tier {
  std::int64_t budget = 0;  // of the plan; the search may keep to less, so that copies have room
  std::int64_t limit = Transfers::kNoLimit;  // of the bytes in the tier
};

class LocalSearch {
 public:
  // `tier`: copies are allowed; absent: nothing is loaded.
  LocalSearch(Schedule& schedule, std::int64_t budget, std::uint64_t seed, Deadline deadline = {},
              std::optional<Tier> tier = {});

  // Adds reruns until the peak fits. False: it found no way, or not before the deadline; the
  // schedule stays as it is then.
  bool fit();
  // Removes reruns that the budget has room for, until a pass gains little, or the deadline.
  void tidy();
  // Removes reruns, adds others to fit again, and keeps what is cheaper. Ends after `changes`, or
  // at the deadline.
  // REQUIRES: the peak fits.
  void improve(std::int64_t changes);

  // The ns of reruns and of waits for copies; Transfers::kTooMuch or more: the tier has no room.
  std::int64_t total();

 private:
  struct Change {
    GroupRerun rerun;
    Load load;  // of a storage; kNone: it is the rerun
    bool added;
  };
  struct Drop {
    Index storage;
    Index stage;   // in which it is remade or loaded
    double price;  // ns a byte
    bool load = false;
    std::int64_t unhidden = 0;  // ns of its copies that the gap is too short for
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
  void add(Load load);
  void remove(Load load);
  void roll_back(std::size_t mark);
  bool drop(Index storage, Index stage, Moment moment, std::int64_t most_cost);
  bool relieve(std::int64_t most_cost);
  void find_drops(Moment moment, std::int64_t peak);
  void find_loads(Moment moment, std::int64_t over);
  bool drop_by_load(Index storage, Moment moment);
  bool bring_by_load(Index storage, Index stage);
  bool tier_has_room();
  bool keeps_time(std::int64_t& now);
  void tidy_loads();
  void improve_both(std::int64_t changes);
  bool change(Load load, std::int64_t most_cost);
  bool fit_again(std::int64_t most_cost);
  bool exchange(GroupRerun rerun);
  [[nodiscard]] bool is_cheaper_by_load(Index storage, Index stage) const;
  [[nodiscard]] std::int64_t unhidden(Index storage, const Schedule::Gap& gap) const;
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
  // With a tier.
  std::optional<Tier> tier_;
  std::optional<Transfers> transfers_;
  std::vector<Index> loadable_;       // without those that the tier had no room for
  std::vector<std::int64_t> begins_;  // by stage: ns, each operator once
};

}  // namespace neap::planner
