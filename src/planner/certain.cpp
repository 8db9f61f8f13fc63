// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/certain.h"

#include <algorithm>
#include <numeric>

namespace neap::planner {

Certain::Certain(const Replays& replays) : replays_(replays), program_(replays.program()) {
  last_moments_.reserve(at(end()));
  for (Index op = 0; op < end(); ++op) last_moments_.push_back(last_moment(op));
  for (Index storage = 0; storage < program_.storages(); ++storage) {
    const Program::Storage& one = program_.storage(storage);
    oldest_.push_back(oldest(storage));
    const auto first_of = [&](std::span<const Index> writers) {
      Index first = one.given ? 0 : last_moments_[at(one.maker)];
      // A writer's last moment is after its own run, so it changes nothing before it is asked for.
      for (const Index writer : writers) first = std::min(first, last_moments_[at(writer)]);
      return first;
    };
    const auto writers = program_.writers(storage);
    lost_.push_back(first_of(writers));
    lost_at_oldest_.push_back(first_of(writers.first(at(oldest_.back()))));
    const auto users = program_.users(storage);
    const Index last = one.given ? one.released : users.empty() ? kNone : users.back();
    pinned_.emplace_back(program_.has_tier() ? end() + 1
                         : one.given         ? one.arrival + 1
                                             : lost_.back(),
                         one.keep ? end() : std::min(last, end()));
  }
  sum();
}

// The moment from which the operator cannot run again. Not Replays::last_stage(), because the rest
// of its group may have stricter limits.
Index Certain::last_moment(Index op) const {
  if (!program_.op(op).replayable) return op + 1;
  Index last = graph::kNever;
  for (const graph::Content& need : program_.needs(op)) {
    const auto writers = program_.writers(need.storage);
    const auto next = static_cast<std::size_t>(need.version);
    if (!program_.storage(need.storage).given || next >= writers.size()) continue;
    last = std::min(last, writers[next]);
  }
  return last;
}

// The oldest version that an operator needs to make or write anything but the storage itself.
Index Certain::oldest(Index storage) const {
  for (const Index user : program_.users(storage)) {
    const auto mutates = program_.mutates(user);
    const bool writes_only_it =
        program_.makes(user).empty() && mutates.size() == 1 && mutates[0].storage == storage;
    if (!writes_only_it) return replays_.version_at(storage, user);
  }
  return program_.storage(storage).versions;
}

Index Certain::next_use(Index storage, Index moment) const {
  const auto users = program_.users(storage);
  const auto next = std::ranges::upper_bound(users, moment);
  if (next != users.end()) return *next;
  return is_held_at_end(storage) ? end() : graph::kNever;
}

bool Certain::is_held_at_end(Index storage) const {
  const Program::Storage& one = program_.storage(storage);
  return one.keep || (program_.has_tier() && one.given && one.released == graph::kNever);
}

void Certain::sum() {
  std::vector<std::int64_t> pinned_bytes(at(end()) + 2, 0);  // first differences, then their sums
  needed_ = pinned_bytes;
  std::int64_t kept = 0;
  for (Index storage = 0; storage < program_.storages(); ++storage) {
    const Program::Storage& one = program_.storage(storage);
    const auto [first, last] = pinned_[at(storage)];
    if (first <= last) {
      pinned_bytes[at(first)] += one.bytes;
      pinned_bytes[at(last) + 1] -= one.bytes;
    }
    const Index from = one.given ? one.arrival : one.maker;
    if ((!one.given || program_.has_tier()) && from < last) {
      needed_[at(from + 1)] += one.bytes;
      needed_[at(last)] -= one.bytes;
    }
    if (is_held_at_end(storage) && !pinned(storage, end())) kept += one.bytes;
  }
  std::partial_sum(pinned_bytes.begin(), pinned_bytes.end(), pinned_bytes.begin());
  std::partial_sum(needed_.begin(), needed_.end(), needed_.begin());
  const auto sum_of = [&](std::span<const Index> storages) {
    std::int64_t sum = 0;
    for (const Index one : storages) sum += program_.storage(one).bytes;
    return sum;
  };
  bytes_.push_back(sum_of(program_.arrivals(kNone)));
  for (Index moment = 0; moment < end(); ++moment) {
    const Program::Op& op = program_.op(moment);
    bytes_.push_back(pinned_bytes[at(moment)] + op.makes_bytes +
                     std::max(op.workspace, sum_of(program_.arrivals(moment))));
    for (const graph::Content& need : program_.needs(moment)) {
      if (!pinned(need.storage, moment)) bytes_.back() += program_.storage(need.storage).bytes;
    }
  }
  bytes_.push_back(pinned_bytes[at(end())] + kept);
}

}  // namespace neap::planner
