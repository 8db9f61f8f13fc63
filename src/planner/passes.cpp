// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/passes.h"

#include <algorithm>
#include <numeric>

namespace neap::planner {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// What crosses each place of a forward, counted from its first operator, without far storages.
// Spans are added first, as differences between neighbours; sum_up() makes totals of them.
struct Crossing {
  explicit Crossing(std::size_t places, Index none_made)
      : bytes(places + 1),
        unsaved(places + 1),
        ns(places + 1),
        groups(places + 1),
        earliest(places + 1, none_made),
        latest(places + 1, kNone) {}

  template <class Number>
  static void add(std::vector<Number>& counts, Index after, Index until, Number amount) {
    counts[at(after) + 1] += amount;
    counts[std::min(at(until) + 1, counts.size() - 1)] -= amount;
  }
  void add_storage(Index made, Index read, std::int64_t its_bytes, std::int64_t its_ns,
                   bool is_saved) {
    add(bytes, made, read, its_bytes);
    add(ns, made, read, its_ns);
    if (!is_saved) add(unsaved, made, read, its_bytes);
    latest[at(made) + 1] = std::max(latest[at(made) + 1], read);
    earliest[at(read)] = std::min(earliest[at(read)], made);
  }
  void sum_up() {
    for (std::vector<std::int64_t>* const counts : {&bytes, &unsaved, &ns}) {
      std::inclusive_scan(counts->begin(), counts->end(), counts->begin());
    }
    std::inclusive_scan(groups.begin(), groups.end(), groups.begin());
    std::inclusive_scan(latest.begin(), latest.end(), latest.begin(),
                        [](Index a, Index b) { return std::max(a, b); });
    std::inclusive_scan(earliest.rbegin(), earliest.rend(), earliest.rbegin(),
                        [](Index a, Index b) { return std::min(a, b); });
    bytes.pop_back();
  }

  std::vector<std::int64_t> bytes;
  std::vector<std::int64_t> unsaved;  // the part that the backward does not need
  std::vector<std::int64_t> ns;       // time of the operators that made it
  std::vector<Index> groups;          // groups that begin before the place and end after it
  std::vector<Index> earliest;        // where the first of what crosses was made
  std::vector<Index> latest;          // where the last of what crosses is last read
};

class Cutting {
 public:
  Cutting(Crossing crossing, const Pass& pass) : crossing_(std::move(crossing)), pass_(pass) {
    const auto places = static_cast<Index>(crossing_.bytes.size());
    before_.assign(at(places), 0);
    after_.assign(at(places), places);
    Index previous = 0;
    for (Index place = 1; place < places; ++place) {
      if (crossing_.groups[at(place)] > 0) continue;
      open_.push_back(place);
      before_[at(place)] = previous;
      after_[at(previous)] = place;
      previous = place;
    }
  }

  void thin_out(const Pass::Grain& grain) {
    std::vector<Index> order = open_;
    std::ranges::stable_sort(order, {}, [&](Index place) {
      return std::pair(-crossing_.bytes[at(place)], grain.coarse ? crossing_.ns[at(place)] : 0);
    });
    std::size_t count = order.size();
    for (const Index place : order) {
      const Index before = before_[at(place)];
      const Index after = after_[at(place)];
      const bool is_crossed_beside =
          crossing_.earliest[at(place)] < before || crossing_.latest[at(place)] >= after;
      const bool is_unsaved = 4 * crossing_.unsaved[at(place)] > crossing_.bytes[at(place)];
      const bool is_cheap = is_cheaper(place, before) || is_cheaper(place, after);
      const bool goes = grain.coarse ? is_crossed_beside || is_cheap : count > grain.most;
      if (!(is_unsaved || goes) || saved(before, after) > grain.limit) continue;
      remove(place);
      --count;
    }
  }

  std::vector<Index> left(std::size_t most) const {
    std::vector<Index> cuts;
    const auto parts = static_cast<std::int64_t>(most);
    const std::int64_t share = std::max<std::int64_t>(1, (pass_.saved_bytes() + parts - 1) / parts);
    const bool all = count() <= most;
    Index last = 0;
    for (Index place = after_[0]; at(place) < crossing_.bytes.size(); place = after_[at(place)]) {
      if (!all && saved(last, place) < share) continue;
      cuts.push_back(pass_.first() + place);
      last = place;
    }
    return cuts;
  }

 private:
  [[nodiscard]] std::int64_t saved(Index from, Index to) const {
    return pass_.saved_before(pass_.first() + to) - pass_.saved_before(pass_.first() + from);
  }
  // What crosses `place` is much cheaper to recompute, per byte, than what crosses `other`.
  [[nodiscard]] bool is_cheaper(Index place, Index other) const {
    if (other == 0 || at(other) >= crossing_.bytes.size()) return false;
    const auto price = [&](Index one) {
      return static_cast<double>(crossing_.ns[at(one)]) /
             static_cast<double>(crossing_.bytes[at(one)] + 1);
    };
    return 4 * price(place) < price(other);
  }
  [[nodiscard]] std::size_t count() const {
    std::size_t count = 0;
    for (Index place = after_[0]; at(place) < crossing_.bytes.size(); place = after_[at(place)]) {
      ++count;
    }
    return count;
  }
  void remove(Index place) {
    const Index before = before_[at(place)];
    const Index after = after_[at(place)];
    after_[at(before)] = after;
    if (at(after) < before_.size()) before_[at(after)] = before;
  }

  Crossing crossing_;
  const Pass& pass_;
  std::vector<Index> open_;
  std::vector<Index> before_, after_;  // neighbours of a cut; 0 and the number of places: none
};

}  // namespace

Pass::Pass(const Replays& replays, Index first, Index turn, Index last)
    : replays_(replays), first_(first), turn_(turn), last_(last) {
  const Program& program = replays.program();
  saved_before_.assign(at(turn - first) + 1, 0);
  Index end = 0;
  for (Index op = first; op < turn; ++op) {
    for (const Index storage : program.makes(op)) {
      if (end == 0) first_storage_ = storage;
      end = std::max(end, storage + 1);
    }
  }
  uses_.assign(at(end - first_storage_), {kNone, kNone, kNone, kNone, false});
  for (Index op = first; op < turn; ++op) {
    for (const Index storage : program.makes(op)) {
      Uses& uses = uses_[at(storage - first_storage_)];
      uses = {op, op, kNone, kNone, !program.storage(storage).keep};
      for (const Index user : program.users(storage)) {
        if (user < turn) {
          uses.last_forward = user;
          continue;
        }
        if (uses.first_backward == kNone) uses.first_backward = user;
        uses.last_backward = user;
      }
      if (uses.last_backward >= last) uses.mobile = false;
      const Index needed = uses.first_backward == kNone ? turn : uses.first_backward;
      if (!replays.may_rerun(replays.group_of(op), needed)) uses.mobile = false;
      if (uses.mobile && uses.first_backward != kNone) {
        saved_before_[at(op - first) + 1] += program.storage(storage).bytes;
      }
    }
  }
  std::inclusive_scan(saved_before_.begin(), saved_before_.end(), saved_before_.begin());
}

std::vector<Index> Pass::cuts(const Grain& grain) const {
  const Program& program = replays_.program();
  Crossing crossing(at(turn_ - first_), turn_);
  for (Index storage = first_storage_; storage < last_storage(); ++storage) {
    if (!is_mobile(storage) || is_far(storage, grain.far)) continue;
    const Uses& used = uses(storage);
    if (used.last_forward == used.made) continue;
    crossing.add_storage(used.made - first_, used.last_forward - first_,
                         program.storage(storage).bytes,
                         replays_.ns(replays_.group_of(used.made), turn_), is_saved(storage));
  }
  for (Index op = first_; op < turn_; ++op) {
    const auto group = replays_.operators(replays_.group_of(op), turn_);
    if (group.front() != op) continue;
    Crossing::add(crossing.groups, op - first_, group.back() - first_, Index{1});
  }
  crossing.sum_up();
  Cutting cutting(std::move(crossing), *this);
  cutting.thin_out(grain);
  return cutting.left(grain.most);
}

std::vector<Pass> passes_of(const graph::Trace& trace, const Replays& replays) {
  using graph::Phase;
  std::vector<Pass> passes;
  Index op = 0;
  Index first = 0;
  Index turn = kNone;
  Index last = kNone;
  const auto close = [&] {
    if (turn > first) passes.emplace_back(replays, first, turn, last);
  };
  for (const graph::Event& event : trace.events) {
    const auto* const one = std::get_if<graph::Operator>(&event);
    if (one == nullptr) continue;
    if (one->phase == Phase::Forward && turn != kNone) {
      close();
      first = op;
      turn = kNone;
    }
    if (one->phase == Phase::Backward) {
      if (turn == kNone) turn = op;
      last = op + 1;
    }
    ++op;
  }
  if (turn != kNone) close();
  return passes;
}

}  // namespace neap::planner
