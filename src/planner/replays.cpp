// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/replays.h"

#include <algorithm>
#include <numeric>

namespace neap::planner {
namespace {

// The operator that overwrites the content; kNever: none does.
Index overwritten_by(const Program& program, graph::Content content) {
  const auto writers = program.writers(content.storage);
  const auto next = static_cast<std::size_t>(content.version);
  return next < writers.size() ? writers[next] : graph::kNever;
}

// The last stage in which the operator may run again, apart from its group.
Index deadline_of(const Program& program, Index op) {
  // An operator without results restores nothing.
  if (program.makes(op).empty() && program.mutates(op).empty()) return kNone;
  if (!program.op(op).replayable) return op;
  Index last = graph::kNever;
  for (const graph::Content& need : program.needs(op)) {
    if (program.storage(need.storage).given) last = std::min(last, overwritten_by(program, need));
  }
  return last;
}

}  // namespace

Replays::Replays(const Program& program)
    : program_(program), group_of_(static_cast<std::size_t>(program.operators())) {
  std::vector<Index> root(group_of_.size());
  std::iota(root.begin(), root.end(), 0);
  const auto find = [&](Index op) {
    while (root[static_cast<std::size_t>(op)] != op) {
      Index& up = root[static_cast<std::size_t>(op)];
      up = root[static_cast<std::size_t>(up)];
      op = up;
    }
    return op;
  };
  for (Index op = 0; op < program.operators(); ++op) {
    for (const graph::Content& one : program.mutates(op)) {
      const Index maker = program.storage(one.storage).maker;
      if (maker == kNone) continue;
      // The smaller root wins, so the first operator of a group is its root.
      const Index one_root = find(op);
      const Index other = find(maker);
      root[static_cast<std::size_t>(std::max(one_root, other))] = std::min(one_root, other);
    }
  }
  std::vector<Index> number(group_of_.size(), kNone);
  std::vector<std::size_t> count;
  for (Index op = 0; op < program.operators(); ++op) {
    Index& group = number[static_cast<std::size_t>(find(op))];
    if (group == kNone) {
      group = static_cast<Index>(count.size());
      count.push_back(0);
    }
    group_of_[static_cast<std::size_t>(op)] = group;
    ++count[static_cast<std::size_t>(group)];
  }
  begin_.assign(count.size() + 1, 0);
  std::inclusive_scan(count.begin(), count.end(), begin_.begin() + 1);
  members_.resize(group_of_.size());
  deadlines_.assign(count.size(), graph::kNever);
  std::vector<std::size_t> next(begin_.begin(), begin_.end() - 1);
  for (Index op = 0; op < program.operators(); ++op) {
    const auto group = static_cast<std::size_t>(group_of(op));
    members_[next[group]++] = op;
    deadlines_[group] = std::min(deadlines_[group], deadline_of(program, op));
  }
  intact_ = deadlines_;
  for (Index op = 0; op < program.operators(); ++op) {
    Index& until = intact_[static_cast<std::size_t>(group_of(op))];
    for (const graph::Content& need : program.needs(op)) {
      const Index maker = program.storage(need.storage).maker;
      if (maker != kNone && group_of(maker) == group_of(op)) continue;
      until = std::min(until, overwritten_by(program, need));
    }
  }
  for (Index storage = 0; storage < program.storages(); ++storage) {
    const Index maker = program.storage(storage).maker;
    const auto users = program.users(storage);
    // A storage whose maker never runs again is held in any case.
    if (maker == kNone || users.empty() || !program.op(maker).replayable) continue;
    outlived_ = outlived_ || users.back() > intact_until(group_of(maker));
  }
}

std::span<const Index> Replays::operators(Index group, Index stage) const {
  const auto at = static_cast<std::size_t>(group);
  const std::span<const Index> all(members_.data() + begin_[at], members_.data() + begin_[at + 1]);
  if (all.back() < stage) return all;
  return all.first(static_cast<std::size_t>(std::ranges::lower_bound(all, stage) - all.begin()));
}

std::int64_t Replays::ns(Index group, Index stage) const {
  std::int64_t sum = 0;
  for (const Index op : operators(group, stage)) sum += program_.op(op).ns;
  return sum;
}

Index Replays::version_at(Index storage, Index stage) const {
  const auto writers = program_.writers(storage);
  if (writers.empty() || writers.back() < stage) return static_cast<Index>(writers.size());
  return static_cast<Index>(std::ranges::lower_bound(writers, stage) - writers.begin());
}

void Replays::overwritten_needs(Index group, Index stage, std::vector<Index>& groups) const {
  for (const Index op : operators(group, stage)) {
    for (const graph::Content& need : program_.needs(op)) {
      const Index maker = program_.storage(need.storage).maker;
      if (maker == kNone || group_of(maker) == group) continue;
      if (need.version < version_at(need.storage, stage)) groups.push_back(group_of(maker));
    }
  }
}

}  // namespace neap::planner
