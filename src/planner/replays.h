// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/replays.h: what may run again, together with what, and until when.
//
// Note [Groups]
// Operators that write into what another one made run again together: a group is a maker, all that write into its results, and
// whatever else those make or write. Most groups are one operator. Stage t is what happens between the run of operator t - 1
// and that of operator t, which belongs to it. A group runs again in a stage at most once, with those of its operators that come before t.
#pragma once

#include "graph/program.h"

#include <span>
#include <vector>

namespace neap::planner {

using graph::Index;
using graph::kNone;
using graph::Program;

class Replays {
 public:
  explicit Replays(const Program& program);

  [[nodiscard]] const Program& program() const { return program_; }
  [[nodiscard]] Index groups() const { return static_cast<Index>(begin_.size()) - 1; }
  [[nodiscard]] Index group_of(Index op) const { return group_of_[static_cast<std::size_t>(op)]; }
  // Its operators before stage `stage`, in order.
  [[nodiscard]] std::span<const Index> operators(Index group, Index stage) const;
  [[nodiscard]] std::int64_t ns(Index group, Index stage) const;
  // The last stage in which it may run again, as far as it alone is asked.
  [[nodiscard]] Index last_stage(Index group) const {
    return deadlines_[static_cast<std::size_t>(group)];
  }
  // The last stage in which all that it needs from other groups is as it was: later they would have to run again with it.
  [[nodiscard]] Index intact_until(Index group) const {
    return intact_[static_cast<std::size_t>(group)];
  }
  // The program uses something that a group makes after that stage.
  [[nodiscard]] bool outlived() const { return outlived_; }
  // It may run again in this stage, as far as it alone is asked.
  [[nodiscard]] bool may_rerun(Index group, Index stage) const {
    const auto at = static_cast<std::size_t>(group);
    return stage <= deadlines_[at] && members_[begin_[at]] < stage;
  }
  // How often the storage has been written into when the stage begins.
  [[nodiscard]] Index version_at(Index storage, Index stage) const;
  // `operators` of the group need contents that were overwritten before this stage: the groups that make those. They must run
  // again in the same stage.
  void overwritten_needs(Index group, Index stage, std::vector<Index>& groups) const;

 private:
  const Program& program_;
  std::vector<Index> group_of_;
  std::vector<std::size_t> begin_;
  std::vector<Index> members_;
  std::vector<Index> deadlines_;  // the last stage of each group
  std::vector<Index> intact_;     // by group, not later than that
  bool outlived_ = false;
};

}  // namespace neap::planner
