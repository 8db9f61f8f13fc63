// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The least time of reruns inside a budget, for small graphs without writes in place and up to
// about sixty storages. It tries all plans in the order of their cost, except those that another
// plan replaces.
#pragma once

#include "graph/program.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <optional>
#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

namespace neap::planner {

// Note [States of the optimum]
// A state is the number of operators that have run, and the set of resident storages. Three rules
// leave out plans that others replace. Nothing is freed before room is needed. Then no more is
// freed than necessary: without any one of the frees there would be too little room. And storages
// are ignored that no later operator needs, nor the end, nor any rerun for those. The remaining
// cost of a state is at least one rerun of each operator that made something that is gone and
// needed, directly or for those reruns.
class Optimum {
 public:
  // REQUIRES: no operator writes in place, and at most 64 storages are made.
  explicit Optimum(const graph::Trace& trace) : program_(trace) {
    for (graph::Index i = 0; i < program_.storages(); ++i) {
      const auto& storage = program_.storage(i);
      bit_.push_back(storage.given ? -1 : static_cast<int>(bytes_.size()));
      if (!storage.given) bytes_.push_back(storage.bytes);
      if (!storage.given && storage.keep) keep_ |= one(i);
    }
    for (graph::Index i = 0; i < program_.operators(); ++i) {
      Op op{.ns = program_.op(i).ns, .replayable = program_.op(i).replayable};
      op.room = program_.op(i).workspace + program_.op(i).makes_bytes;
      for (const graph::Content& need : program_.needs(i)) {
        if (bit_[static_cast<std::size_t>(need.storage)] >= 0) op.needs |= one(need.storage);
      }
      for (const graph::Index made : program_.makes(i)) op.makes |= one(made);
      ops_.push_back(op);
    }
    for (graph::Index i = 0; i <= program_.operators(); ++i) {
      given_.push_back(bytes_given(i));
      used_.push_back(used_after(static_cast<std::size_t>(i)));
      useful_.push_back(useful_after(static_cast<std::size_t>(i)));
    }
  }

  struct Found {
    bool complete = true;            // all states were seen
    std::optional<std::int64_t> ns;  // absent: none costs less than `below`
  };
  // The least cost below `below` of a plan that takes at most `budget` bytes, searched in at most
  // `most_states` states.
  Found search(std::int64_t budget, std::int64_t below, std::size_t most_states) {
    std::unordered_map<Set, std::int64_t> level{{0, 0}};
    std::size_t states = 0;
    for (std::size_t ran = 0; ran <= ops_.size(); ++ran) {
      std::unordered_map<Set, std::int64_t> next;
      std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
      for (const auto& [set, ns] : level) open.emplace(ns, set);
      while (!open.empty()) {
        const auto [ns, set] = open.top();
        open.pop();
        if (level.at(set) < ns) continue;
        if (++states > most_states) return {.complete = false, .ns = {}};
        const auto reach = [&](auto& into, std::size_t after, Set to, std::int64_t cost) {
          const std::optional<std::int64_t> owed = least_owed(after, to);
          if (!owed || cost + *owed >= below) return false;
          const auto [found, fresh] = into.try_emplace(to, cost);
          if (!fresh && found->second <= cost) return false;
          found->second = cost;
          return true;
        };
        if (ran == ops_.size()) {
          if ((keep_ & ~set) == 0) return {.ns = ns};
        } else {
          Op first = ops_[ran];
          const std::int64_t arriving = given_[ran + 1] - given_[ran];
          first.room = std::max(first.room, bytes(first.makes) + arriving);
          with_room(set, first, budget - given_[ran], [&, now = ns](Set rest) {
            reach(next, ran + 1, (rest | ops_[ran].makes) & useful_[ran + 1], now);
          });
        }
        for (std::size_t i = 0; i < ran; ++i) {
          const Op& op = ops_[i];
          if (!op.replayable || (op.makes & useful_[ran] & ~set) == 0) continue;
          with_room(set, op, budget - given_[ran], [&, now = ns](Set rest) {
            const Set to = (rest | op.makes) & useful_[ran];
            if (reach(level, ran, to, now + op.ns)) open.emplace(now + op.ns, to);
          });
        }
      }
      level = std::move(next);
    }
    return {};
  }

 private:
  using Set = std::uint64_t;
  using Entry = std::pair<std::int64_t, Set>;
  struct Op {
    std::int64_t ns = 0;
    bool replayable = true;
    std::int64_t room = 0;  // the bytes that it takes while it runs
    Set needs = 0;
    Set makes = 0;
  };

  [[nodiscard]] Set one(graph::Index storage) const {
    return Set{1} << bit_[static_cast<std::size_t>(storage)];
  }
  [[nodiscard]] std::int64_t bytes(Set set) const {
    std::int64_t sum = 0;
    for (; set != 0; set &= set - 1) sum += bytes_[static_cast<std::size_t>(std::countr_zero(set))];
    return sum;
  }
  // The bytes of given storages when `ran` operators have run. They cannot be freed. A given
  // storage that the program lets go of is freed at once, because no rerun may still need it:
  // operators that read it count as not replayable.
  [[nodiscard]] std::int64_t bytes_given(graph::Index ran) const {
    std::int64_t sum = 0;
    for (graph::Index i = 0; i < program_.storages(); ++i) {
      const auto& storage = program_.storage(i);
      if (storage.given && storage.arrival < ran) sum += storage.bytes;
    }
    return sum;
  }
  [[nodiscard]] Set used_after(std::size_t ran) const {
    Set used = keep_;
    for (std::size_t i = ran; i < ops_.size(); ++i) used |= ops_[i].needs;
    return used;
  }
  [[nodiscard]] Set useful_after(std::size_t ran) const {
    Set useful = used_.at(ran);
    for (std::size_t i = ran; i-- > 0;) {
      if (ops_[i].replayable && (ops_[i].makes & useful) != 0) useful |= ops_[i].needs;
    }
    return useful;
  }

  // Absent: the state leads to no plan.
  [[nodiscard]] std::optional<std::int64_t> least_owed(std::size_t ran, Set set) const {
    std::int64_t ns = 0;
    Set wanted = used_[ran] & ~set;
    for (std::size_t i = ran; i-- > 0;) {
      if ((ops_[i].makes & wanted) == 0) continue;
      if (!ops_[i].replayable) return std::nullopt;
      ns += ops_[i].ns;
      wanted |= ops_[i].needs & ~set;
    }
    return ns;
  }

  // Calls visit(what stays) for each way to make room for `op`, if it can run.
  template <class Visit>
  void with_room(Set set, const Op& op, std::int64_t budget, Visit visit) const {
    if ((op.needs & ~set) != 0) return;
    const std::int64_t over = bytes(set) + op.room - budget;
    free(set, set & ~op.needs, over, kAll, visit);
  }
  static constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();
  // `over` is how many bytes are too many. `may` is what may still be freed; a storage that was
  // considered before is no longer in it. `smallest` is the size of the smallest one that was
  // freed.
  template <class Visit>
  void free(Set set, Set may, std::int64_t over, std::int64_t smallest, Visit visit) const {
    if (over <= 0) {
      if (smallest == kAll || over + smallest > 0) visit(set);
      return;
    }
    if (bytes(may) < over) return;
    const Set first = may & (~may + 1);
    const std::int64_t size = bytes(first);
    if (size > 0) free(set & ~first, may & ~first, over - size, std::min(smallest, size), visit);
    free(set, may & ~first, over, smallest, visit);
  }

  graph::Program program_;
  std::vector<int> bit_;  // of a storage that is made; -1: given
  std::vector<std::int64_t> bytes_;
  Set keep_ = 0;
  std::vector<Op> ops_;
  std::vector<std::int64_t> given_;  // by the number of operators that have run
  std::vector<Set> used_;
  std::vector<Set> useful_;
};

}  // namespace neap::planner
