// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/h_dtr_eq.h: the heuristic h_DTR^eq of "Dynamic Tensor Rematerialization" (Kirisame et
// al., arXiv 2006.09616), for the online policy and for the planner's walk.
//
// The next storage to evict has the lowest cost / (bytes x staleness). Its cost is the time of its
// own operators and of its evicted neighbourhood: the evicted storages from which it is made, and
// those that are made from it, and so on. Neighbourhoods are sets in a union-find. An eviction
// merges sets. A restore subtracts its own time and leaves the set as it is: sets are never split,
// which is the paper's approximation. So nothing searches the graph.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace neap::planner {

class EvictedSets {
 public:
  using Set = std::uint32_t;
  static constexpr Set kNone = 0;  // of a storage that is not evicted

  // A storage is evicted that takes `ns` to restore. Returns its set; the caller joins it with
  // those of its neighbours.
  Set add(double ns) {
    sets_.push_back({static_cast<Set>(sets_.size()), 0, ns});
    return sets_.back().parent;
  }
  void join(Set one, Set other) {
    const Set from = root_of(other);
    const Set to = root_of(one);
    if (from == to) return;
    sets_[to].ns += sets_[from].ns;
    sets_[from].parent = to;
  }
  // A storage of the set is restored, which was added with `ns`.
  void subtract(Set set, double ns) {
    double& sum = sets_[root_of(set)].ns;
    sum = std::max(0.0, sum - ns);
  }

  // The time of the sets that `for_each(visit)` calls visit(set) with. Each counts once.
  template <class ForEach>
  double sum_of(ForEach for_each) {
    ++query_;
    double ns = 0;
    for_each([&](Set set) {
      Entry& root = sets_[root_of(set)];
      if (std::exchange(root.query, query_) != query_) ns += root.ns;
    });
    return ns;
  }
  void clear() {
    sets_.assign(1, Entry{});
    query_ = 0;
  }

 private:
  struct Entry {
    Set parent = kNone;
    std::uint32_t query = 0;  // the last sum that it was part of
    double ns = 0;
  };
  Set root_of(Set set) {
    while (sets_[set].parent != set) {
      sets_[set].parent = sets_[sets_[set].parent].parent;
      set = sets_[set].parent;
    }
    return set;
  }

  std::vector<Entry> sets_{Entry{}};  // number 0 stands for none
  std::uint32_t query_ = 0;
};

// own_ns: time of the storage's own operators. away_ns: time since its last use, or until its next.
inline double h_dtr_eq(double own_ns, double neighbourhood_ns, std::int64_t bytes, double away_ns) {
  return (own_ns + neighbourhood_ns + 1) / (static_cast<double>(bytes) * (away_ns + 1));
}

}  // namespace neap::planner
