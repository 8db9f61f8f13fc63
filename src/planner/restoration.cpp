// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/restoration.h"

#include <algorithm>

namespace neap::planner {

Restoration::Restoration(const Replays& replays)
    : replays_(replays),
      program_(replays.program()),
      gone_(static_cast<std::size_t>(program_.storages()), false),
      seen_(static_cast<std::size_t>(replays.groups()), -1) {}

void Restoration::want_group(Index group, Index stage) {
  const std::int64_t now = epoch_ * (program_.operators() + 1) + stage;
  std::int64_t& seen = seen_[static_cast<std::size_t>(group)];
  // What may not run again is held instead.
  if (seen == now || !replays_.may_rerun(group, stage)) return;
  seen = now;
  reruns_.push_back({group, stage});
}

void Restoration::want(std::span<const Index> storages, Index stage) {
  const auto look = [&](Index storage) {
    if (is_there(storage)) return;
    want_group(replays_.group_of(program_.storage(storage).maker), stage);
  };
  std::size_t next = reruns_.size();
  std::ranges::for_each(storages, look);
  std::vector<Index> older;
  for (; next < reruns_.size(); ++next) {
    const Index group = reruns_[next].group;
    for (const Index op : replays_.operators(group, stage)) {
      for (const graph::Content& need : program_.needs(op)) look(need.storage);
    }
    older.clear();
    replays_.overwritten_needs(group, stage, older);
    for (const Index one : older) want_group(one, stage);
  }
}

std::vector<GroupRerun> Restoration::reruns() const {
  std::vector<GroupRerun> all = reruns_;
  std::ranges::sort(all, {}, [&](GroupRerun one) {
    return std::pair(one.stage, replays_.operators(one.group, one.stage).front());
  });
  return all;
}

}  // namespace neap::planner
