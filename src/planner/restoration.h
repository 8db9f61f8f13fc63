// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/restoration.h: which groups run again in which stage, so that what a backward needs is
// resident when it needs it.
//
// It tracks what is resident from set() and bring(). It does not check that this stays resident
// until its use: a Schedule holds whatever is not remade.
#pragma once

#include "planner/passes.h"
#include "planner/schedule.h"

#include <span>
#include <vector>

namespace neap::planner {

class Restoration {
 public:
  explicit Restoration(const Replays& replays);

  // Allows stages to start from any stage again.
  void start_anew() { ++epoch_; }
  // Forgets the reruns, but not what is resident.
  void clear() {
    reruns_.clear();
    start_anew();
  }
  void set(Index storage, bool there) { gone_[static_cast<std::size_t>(storage)] = !there; }
  [[nodiscard]] bool is_there(Index storage) const {
    return !gone_[static_cast<std::size_t>(storage)];
  }

  // Remakes the storages in this stage, with everything that this needs. They are resident
  // afterwards, and so are other results for which `stays` returns true. Returns the groups that
  // run again. REQUIRES: stages do not decrease since start_anew().
  template <class Stays>
  std::span<const GroupRerun> bring(std::span<const Index> storages, Index stage, Stays stays) {
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

  // All reruns, by stage and operator.
  [[nodiscard]] std::vector<GroupRerun> reruns() const;

 private:
  void want(std::span<const Index> storages, Index stage);
  void want_group(Index group, Index stage);

  const Replays& replays_;
  const Program& program_;
  std::vector<bool> gone_;
  std::vector<std::int64_t> seen_;  // by group: the last epoch and stage in which it runs again
  std::int64_t epoch_ = 0;
  std::vector<GroupRerun> reruns_;
};

}  // namespace neap::planner
