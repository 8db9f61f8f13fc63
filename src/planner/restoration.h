// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/restoration.h: which groups run again in which stage so that what a backward needs is there when it needs it.
//
// It knows what is there by what it is told and what it brought. That this lives until it is used is the schedule's affair: there, what is not
// made again is held.
#pragma once

#include "planner/passes.h"
#include "planner/schedule.h"

#include <span>
#include <vector>

namespace neap::planner {

class Restoration {
 public:
  explicit Restoration(const Replays& replays);

  // Stages may come in any order again.
  void start_anew() { ++epoch_; }
  // Forgets the reruns, not what is there.
  void clear() {
    reruns_.clear();
    start_anew();
  }
  void set(Index storage, bool there) { gone_[static_cast<std::size_t>(storage)] = !there; }
  [[nodiscard]] bool is_there(Index storage) const {
    return !gone_[static_cast<std::size_t>(storage)];
  }

  // Makes the storages in this stage, with all that this takes. They are there afterwards, and so is what is made besides when
  // `stays` says so. Returns the groups that run again for that. REQUIRES: stages in order, since start_anew().
  template <class Stays>
  std::span<const Rerun> bring(std::span<const Index> storages, Index stage, Stays stays) {
    const std::size_t mark = reruns_.size();
    want(storages, stage);
    for (std::size_t i = mark; i < reruns_.size(); ++i) {
      for (const Index op : replays_.operators(reruns_[i].group, stage)) {
        for (const Index made : program_.makes(op)) {
          if (stays(made)) set(made, true);
        }
      }
    }
    for (const Index storage : storages) set(storage, true);
    return std::span(reruns_).subspan(mark);
  }

  // All of them, by stage and operator.
  [[nodiscard]] std::vector<Rerun> reruns() const;

 private:
  void want(std::span<const Index> storages, Index stage);
  void want_group(Index group, Index stage);

  const Replays& replays_;
  const Program& program_;
  std::vector<bool> gone_;
  std::vector<std::int64_t> seen_;  // by group: the last stage and epoch in which it runs again
  std::int64_t epoch_ = 0;
  std::vector<Rerun> reruns_;
};

}  // namespace neap::planner
