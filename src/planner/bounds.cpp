// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/bounds.h"

#include "planner/certain.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace neap::planner {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLarge = std::int64_t{1} << 60;  // the sum of a few does not overflow

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// Note [Flow]
// For one moment: choose the storages to hold over it, at a price per byte, and the operators to
// rerun after it, at their ns, so that the program has what it needs later. The cheapest choice is
// a minimum cut. Demand enters at each needed storage and passes through it up to its price. It
// ends in the maker and the writers up to their ns, or goes on to what these read. A storage that
// cannot be restored absorbs all that its price lets through. Any flow is at most the cut, so a
// greedy flow gives a bound. Started from the oldest storage, it comes close to the maximum: what
// an old storage cannot end, it cannot end for a young one either.
class Flow {
 public:
  explicit Flow(const Certain& certain)
      : certain_(certain),
        program_(certain.program()),
        there_(at(program_.storages())),
        needed_(there_.size()),
        room_(there_.size()),
        ns_(at(certain.end())) {}

  // Selects what the program needs after the moment, up to `last`, that Certain::bytes() does not
  // count.
  void set(Index moment, Index last) {
    moment_ = moment;
    made_ = 0;
    demanded_ = 0;
    sources_.clear();
    for (Index storage = 0; storage < program_.storages(); ++storage) {
      const Program::Storage& one = program_.storage(storage);
      if (one.maker >= moment) break;
      made_ = storage + 1;
      needed_[at(storage)] = there_[at(storage)] = false;
      if (one.given && one.arrival >= moment) continue;
      there_[at(storage)] = certain_.pinned(storage, moment) ||
                            std::ranges::binary_search(program_.users(storage), moment);
      needed_[at(storage)] = (!one.given || program_.has_tier()) && !there_[at(storage)] &&
                             one.bytes > 0 && certain_.next_use(storage, moment) <= last;
      if (!needed_[at(storage)]) continue;
      sources_.push_back(storage);
      demanded_ += one.bytes;
    }
  }
  [[nodiscard]] std::int64_t demanded() const { return demanded_; }  // bytes

  // The costs of restoring each storage by its own operators, those above `least` only, sorted.
  [[nodiscard]] std::vector<std::int64_t> costs(std::int64_t least) const {
    std::vector<std::int64_t> all;
    for (Index storage = 0; storage < made_; ++storage) {
      if (program_.storage(storage).given || there_[at(storage)]) continue;
      if (const std::int64_t ns = cost(storage); ns > least) all.push_back(ns);
    }
    std::ranges::sort(all);
    return all;
  }

  // A lower bound of `scale` times the ns of reruns plus the price of the bytes held. Storages that
  // cost `dear` ns or more must be held.
  std::int64_t value(std::int64_t price, std::int64_t scale, std::int64_t dear = kMost) {
    dear_ = dear;
    for (Index op = 0; op < moment_; ++op) ns_[at(op)] = program_.op(op).ns * scale;
    for (Index storage = 0; storage < made_; ++storage) {
      // At most the whole demand passes anywhere. The product cannot overflow.
      room_[at(storage)] = std::min(program_.storage(storage).bytes, demanded_) * price;
    }
    std::int64_t sum = 0;
    for (const Index storage : sources_) sum += through(storage, kMost, 0);
    return sum;
  }

 private:
  // Longer paths carry no flow. Few programs have long chains of storages that are not needed
  // later.
  static constexpr int kDepth = 64;

  std::int64_t through(Index storage, std::int64_t most, int depth) {
    std::int64_t& room = room_[at(storage)];
    const std::int64_t want = std::min(most, room);
    if (want == 0 || depth > kDepth || there_[at(storage)]) return 0;
    if (program_.storage(storage).given || certain_.lost(storage, moment_, needed_[at(storage)]) ||
        (dear_ < kMost && cost(storage) >= dear_)) {
      room -= want;
      return want;
    }
    // Closed meanwhile, because an operator that writes into two storages reads each for the other.
    const std::int64_t rest = room - want;
    room = 0;
    std::int64_t left = want;
    each_operator(storage, [&](Index op) {
      const std::int64_t part = std::min(left, ns_[at(op)]);
      ns_[at(op)] -= part;
      left -= part;
    });
    if (left > 0) {
      each_operator(storage, [&](Index op) {
        for (const graph::Content& need : program_.needs(op)) {
          left -= through(need.storage, left, depth + 1);
        }
      });
    }
    // If something is left it stays closed: where a part finds no end, no more will.
    if (left == 0) room = rest;
    return want - left;
  }

  [[nodiscard]] std::int64_t cost(Index storage) const {
    std::int64_t ns = 0;
    each_operator(storage, [&](Index op) { ns += program_.op(op).ns; });
    return ns;
  }

  template <class Visit>
  void each_operator(Index storage, Visit visit) const {
    visit(program_.storage(storage).maker);
    for (const Index one : certain_.writers(storage, moment_, needed_[at(storage)])) visit(one);
  }

  const Certain& certain_;
  const Program& program_;
  Index moment_ = 0;
  Index made_ = 0;           // the number of storages made by then
  std::vector<bool> there_;  // counted in Certain::bytes()
  std::vector<Index> sources_;
  std::vector<bool> needed_;  // one of sources_
  std::int64_t demanded_ = 0;
  std::int64_t dear_ = kMost;
  std::vector<std::int64_t> room_;  // by storage: how much more may pass
  std::vector<std::int64_t> ns_;    // by operator: how much more may end
};

// Note [Windows]
// A window is a pair of moments. What is needed between them is resident at the first, or is rerun
// between them. Windows that do not overlap count different reruns, so their bounds add up. That
// counts a storage that a small budget evicts more than once.
class Windows {
 public:
  Windows(const Certain& certain, std::int64_t budget)
      : certain_(certain), budget_(budget), flow_(certain) {
    for (Index op = 0; op < certain.end(); ++op) ns_ += certain.program().op(op).ns;
    // Prices go up to some thousand times all ns for all bytes.
    scale_ = std::max<std::int64_t>(kLarge / 4096 / std::max<std::int64_t>(ns_, 1), 1);
  }

  // The best sum over consecutive windows. REQUIRES: Certain::bytes() is inside the budget at the
  // moments.
  std::int64_t bound(const std::vector<Index>& moments) {
    std::vector<std::int64_t> best(moments.size() + 1, 0);  // by moment: from there to the end
    for (std::size_t from = moments.size(); from-- > 0;) {
      best[from] = best[from + 1];
      room_ = budget_ - certain_.bytes(moments[from]);
      for (std::size_t to = from + 1; to <= moments.size(); ++to) {
        flow_.set(moments[from], to < moments.size() ? moments[to] : certain_.end());
        const std::int64_t ns = window();
        if (ns > ns_) return kMost;  // a valid window counts each operator once at most
        best[from] = std::max(best[from], ns + best[to]);
      }
    }
    return best[0];
  }

  // With a tier: the largest of the moments, of the ns of reruns and waits.
  std::int64_t copy_bound(const std::vector<Index>& moments) {
    std::int64_t best = 0;
    for (const Index moment : moments) best = std::max(best, copy_bound(moment));
    return best;
  }

 private:
  // Note [Copies around a moment]
  // Of what is needed after the moment, some bytes are resident, some are made again after it, and
  // the rest is loaded after it. That rest was copied out before the moment and comes back after
  // it, in one queue each: when it is L bytes, the step takes as long as L bytes out before the
  // moment, and as long as L bytes in after it, and no less than the operators on each side, with
  // the reruns after it for a room that is larger by L. The least over L is a bound. Between two
  // values of L, the copies count for the smaller one, and the reruns for the larger one.
  std::int64_t copy_bound(Index moment) {
    flow_.set(moment, certain_.end());
    const std::int64_t room = budget_ - certain_.bytes(moment);
    const std::int64_t most = flow_.demanded() - room;
    if (most <= 0) return 0;
    const Program& program = certain_.program();
    std::int64_t before = 0;
    for (Index op = 0; op < moment; ++op) before += program.op(op).ns;
    const std::int64_t after = ns_ - before - (moment < certain_.end() ? program.op(moment).ns : 0);
    const auto past = [](std::int64_t bytes, std::int64_t bandwidth, std::int64_t ns) {
      // Less than a ns too much, by rounding.
      return std::max<std::int64_t>(0, graph::copy_ns(bytes, bandwidth).value_or(kMost) - 1 - ns);
    };
    constexpr std::int64_t kParts = 16;
    std::int64_t least = kMost;
    for (std::int64_t i = kParts; i-- > 0;) {
      const auto part = [&](std::int64_t of) { return of == kParts ? most : most / kParts * of; };
      const std::int64_t out = past(part(i), program.out_bytes_per_s(), before);
      const std::int64_t in = past(part(i), program.in_bytes_per_s(), after);
      room_ = room + part(i + 1);
      std::int64_t reruns = i + 1 == kParts ? 0 : window();
      if (reruns > ns_) reruns = kMost;  // it counts each operator once at most
      const std::int64_t longer = std::max(reruns, in);
      least = std::min(least, longer > kMost - out ? kMost : out + longer);
      // With less in the tier, reruns only take longer.
      if (reruns >= least) break;
    }
    return least;
  }

  // The bound of the window that flow_ is set to.
  std::int64_t window() {
    if (flow_.demanded() <= room_) return 0;
    std::int64_t found = best_price(kMost);
    // A storage is held whole or not at all. A plan that spends less than `dear` holds all storages
    // that cost as much. If its bound is still `dear` or more, no plan spends less than `dear`.
    const std::vector<std::int64_t> costs = flow_.costs(found);
    for (std::size_t low = 0, high = costs.size(); low < high;) {
      const std::size_t middle = (low + high) / 2;
      const std::int64_t dear = costs[middle];
      const std::int64_t least = std::min(dear, best_price(dear));
      found = std::max(found, least);
      if (least == dear) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return found;
  }

  // For any price, what is held takes at most the room, so the price of the room is subtracted. The
  // result is concave in the price. Its slope leads to the best of prices 1/64 apart.
  std::int64_t best_price(std::int64_t dear) {
    const auto price = [](std::int64_t i) { return (64 + i % 64) << (i / 64) >> 6; };
    std::int64_t best = 0;
    const auto at_price = [&](std::int64_t i) {
      const std::int64_t value = flow_.value(price(i), scale_, dear) - price(i) * room_;
      if (value > 0) best = std::max(best, (value - 1) / scale_ + 1);  // ns are integers
      return value;
    };
    std::int64_t low = 0;
    std::int64_t high = 0;
    while (price(high + 64) < kLarge / std::max<std::int64_t>(flow_.demanded(), 64)) high += 64;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (at_price(middle) <= at_price(middle + 1)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return best;
  }

  const Certain& certain_;
  std::int64_t budget_;
  std::int64_t room_ = 0;
  Flow flow_;
  std::int64_t ns_ = 0;  // of all operators
  std::int64_t scale_;   // compares ns * scale_ with bytes * price
};

// In each of some equal parts of the step, the moment with the most bytes that are resident or
// needed later. The number of parts keeps the windows between them below a second: 7 for 100,000
// operators.
std::vector<Index> heaviest(const Certain& certain) {
  const std::int64_t end = certain.end();
  std::int64_t count = std::min<std::int64_t>(end, 32);
  while (count > 4 && count * count * end > 5'000'000) --count;
  const auto bytes = [&](Index moment) { return certain.bytes(moment) + certain.needed(moment); };
  std::vector<Index> moments;
  for (std::int64_t part = 0; part < count; ++part) {
    auto moment = static_cast<Index>(end * part / count);
    moments.push_back(moment);
    while (++moment < end * (part + 1) / count) {
      if (bytes(moment) > bytes(moments.back())) moments.back() = moment;
    }
  }
  return moments;
}

Floor floor_of(const Certain& certain) {
  Floor best{0, kNone};
  const auto take = [&](Index moment, std::int64_t bytes) {
    if (bytes > best.bytes) best = {bytes, moment};
  };
  for (Index moment = kNone; moment <= certain.end(); ++moment) take(moment, certain.bytes(moment));
  // What reruns read can only add to the floor, and only where it is lost, which is rare. So some
  // moments are enough.
  if (certain.program().has_tier()) return best;  // what reruns read may be loaded
  Flow flow(certain);
  std::vector<Index> looks = heaviest(certain);
  if (best.op != kNone && best.op != certain.end()) looks.push_back(best.op);
  for (const Index moment : looks) {
    flow.set(moment, certain.end());
    take(moment, certain.bytes(moment) + flow.value(1, 0));
  }
  return best;
}

}  // namespace

Floor memory_floor(const Replays& replays) { return floor_of(Certain(replays)); }

std::int64_t recompute_bound(const Replays& replays, std::int64_t budget) {
  const Certain certain(replays);
  if (budget < floor_of(certain).bytes) return kMost;
  if (replays.program().has_tier()) return Windows(certain, budget).copy_bound(heaviest(certain));
  return Windows(certain, budget).bound(heaviest(certain));
}

}  // namespace neap::planner
