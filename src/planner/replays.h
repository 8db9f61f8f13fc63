// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/replays.h: which operators may run again, together with which others, and until when.
//
// Note [Groups]
// An operator that writes into another one's result has to run again with it. A group is a maker,
// all operators that write into its results, and whatever else those make or write. Most groups are
// one operator. Stage t is what happens between the run of operator t - 1 and that of operator t,
// which belongs to it. A group runs again at most once in a stage, with those of its operators that
// precede t.
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
  // The group's operators before stage `stage`, in order.
  [[nodiscard]] std::span<const Index> operators(Index group, Index stage) const;
  [[nodiscard]] std::int64_t ns(Index group, Index stage) const;
  // The last stage in which it may run again, apart from what other groups require.
  [[nodiscard]] Index last_stage(Index group) const {
    return deadlines_[static_cast<std::size_t>(group)];
  }
  // The last stage in which its inputs from other groups are not overwritten. Later, those groups
  // would have to run again with it.
  [[nodiscard]] Index intact_until(Index group) const {
    return intact_[static_cast<std::size_t>(group)];
  }
  // The program uses a result of some group after that stage.
  [[nodiscard]] bool outlived() const { return outlived_; }
  // Whether it may run again in this stage, apart from what other groups require.
  [[nodiscard]] bool may_rerun(Index group, Index stage) const {
    const auto at = static_cast<std::size_t>(group);
    return stage <= deadlines_[at] && members_[begin_[at]] < stage;
  }
  // How often the storage has been written into when the stage begins.
  [[nodiscard]] Index version_at(Index storage, Index stage) const;
  // Limits which storages may be loaded from the tier: see copies.h. By storage: the first operator
  // before which it may be; kNever: none. Empty: any.
  void limit_copies(std::vector<Index> from) { loads_from_ = std::move(from); }
  [[nodiscard]] bool may_load(Index storage, Index stage) const {
    return loads_from_.empty() || loads_from_[static_cast<std::size_t>(storage)] <= stage;
  }
  // Appends the groups that make contents that this group needs and that were overwritten before
  // this stage. They must run again in the same stage.
  void overwritten_needs(Index group, Index stage, std::vector<Index>& groups) const;

 private:
  const Program& program_;
  std::vector<Index> group_of_;
  std::vector<std::size_t> begin_;
  std::vector<Index> members_;
  std::vector<Index> deadlines_;   // by group: last_stage()
  std::vector<Index> intact_;      // by group: intact_until(), never later than that
  std::vector<Index> loads_from_;  // by storage, see limit_copies()
  bool outlived_ = false;
};

}  // namespace neap::planner
