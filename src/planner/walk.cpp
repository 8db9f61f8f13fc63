// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/walk.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

namespace neap::planner {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

// Sums over sets of gone storages that hang together. One that comes back takes its own time off the sum and leaves the set as it is:
// sets are never split, as in the paper.
class Components {
 public:
  explicit Components(std::size_t size) : parent_(size), ns_(size, 0) {
    std::iota(parent_.begin(), parent_.end(), 0);
  }
  Index find(Index i) {
    while (parent_[at(i)] != i) i = parent_[at(i)] = parent_[at(parent_[at(i)])];
    return i;
  }
  void join(Index one, Index other) {
    const Index from = find(one);
    const Index to = find(other);
    if (from == to) return;
    parent_[at(from)] = to;
    ns_[at(to)] += ns_[at(from)];
  }
  void add(Index i, double ns) { ns_[at(find(i))] += ns; }
  double ns(Index root) const { return ns_[at(root)]; }
  // A number of its own again.
  Index fresh() {
    parent_.push_back(static_cast<Index>(parent_.size()));
    ns_.push_back(0);
    return parent_.back();
  }

 private:
  std::vector<Index> parent_;
  std::vector<double> ns_;
};

class Walk {
 public:
  Walk(const Replays& replays, std::int64_t budget, Rule rule, std::uint64_t seed, bool returns)
      : replays_(replays),
        program_(replays.program()),
        budget_(budget),
        rule_(rule),
        returns_(returns),
        due_(returns ? at(program_.operators()) : 0),
        random_(seed),
        states_(at(program_.storages())),
        last_stage_(at(replays.groups()), graph::kNever),
        last_reader_(at(program_.storages()), kNone),
        in_stage_(at(replays.groups()), kNone),
        in_bring_(at(replays.groups()), kNone),
        components_(0) {
    find_last_stages();
    starts_.reserve(at(program_.operators()));
    double clock = 0;
    for (Index op = 0; op < program_.operators(); ++op) {
      starts_.push_back(clock);
      clock += static_cast<double>(program_.op(op).ns);
    }
    starts_.push_back(clock);
  }

  std::optional<std::vector<Rerun>> take() {
    arrive(kNone);
    for (stage_ = 0; stage_ < program_.operators(); ++stage_) {
      if (resident_ > budget_ || !bring_due() || !bring(program_.needs(stage_)) ||
          !run(stage_, true)) {
        return {};
      }
      arrive(stage_);
    }
    std::vector<graph::Content> kept;
    for (Index storage = 0; storage < program_.storages(); ++storage) {
      if (program_.storage(storage).keep) kept.push_back({storage, 0});
    }
    if (!bring(kept) || resident_ > budget_) return {};
    return std::move(reruns_);
  }

 private:
  struct State {
    bool made = false;
    bool resident = false;
    Index candidate = kNone;  // place in candidates_
    Index component = kNone;
    std::uint32_t locks = 0;
    std::uint32_t next_user = 0;  // in its users
    double last_use = 0;
  };
  State& state(Index storage) { return states_[at(storage)]; }
  [[nodiscard]] const State& state(Index storage) const { return states_[at(storage)]; }

  // Of a group with all that it is made from: the last stage in which everything may run again, or is held because it may not.
  void find_last_stages() {
    for (Index group = 0; group < replays_.groups(); ++group) {
      Index& last = last_stage_[at(group)];
      last = returns_ ? replays_.intact_until(group) : replays_.last_stage(group);
      for (const Index op : replays_.operators(group, program_.operators())) {
        for (const graph::Content& need : program_.needs(op)) {
          const Index maker = program_.storage(need.storage).maker;
          if (maker == kNone || replays_.group_of(maker) >= group) continue;
          last = std::min(last, there_until(need, last_stage_[at(replays_.group_of(maker))]));
        }
      }
    }
    for (Index storage = 0; storage < program_.storages(); ++storage) {
      for (const Index user : program_.users(storage)) {
        Index& last = last_reader_[at(storage)];
        last = std::max(last, last_stage_[at(replays_.group_of(user))]);
      }
    }
  }

  // `last`: the stage up to which it can be made again. Until then it can come back; and as long as the program will use it after
  // that, it stays.
  [[nodiscard]] Index there_until(const graph::Content& content, Index last) const {
    if (last == graph::kNever) return last;
    const auto users = program_.users(content.storage);
    Index until = program_.storage(content.storage).keep ? program_.operators()
                  : users.empty()                        ? kNone
                                                         : users.back();
    const auto writers = program_.writers(content.storage);
    const auto next = static_cast<std::size_t>(content.version);
    if (next < writers.size()) until = std::min(until, writers[next]);
    return std::max(last, until);
  }

  [[nodiscard]] Index group_of(Index storage) const {
    return replays_.group_of(program_.storage(storage).maker);
  }
  // The operator that needs it next; kNever: none does.
  [[nodiscard]] Index next_user(Index storage) const {
    const auto users = program_.users(storage);
    const std::size_t next = state(storage).next_user;
    if (next < users.size()) return users[next];
    return program_.storage(storage).keep ? program_.operators() : graph::kNever;
  }
  [[nodiscard]] bool may_go(Index storage) const {
    if (state(storage).locks > 0 || program_.storage(storage).bytes == 0) return false;
    const Index next = next_user(storage);
    if (next == graph::kNever) return is_dispensable(storage);
    const Index last = last_stage_[at(group_of(storage))];
    return next <= last || (returns_ && stage_ < last);
  }
  // The program needs it no more. It can be made again, or nothing that could run again reads it.
  [[nodiscard]] bool is_dispensable(Index storage) const {
    return stage_ <= last_stage_[at(group_of(storage))] || stage_ >= last_reader_[at(storage)];
  }

  void arrive(Index op) {
    for (const Index storage : program_.arrivals(op)) {
      state(storage).made = state(storage).resident = true;
      resident_ += program_.storage(storage).bytes;
    }
  }

  // From here on it could not come back, and the program will use it.
  bool bring_due() {
    if (!returns_) return true;
    std::vector<graph::Content> due;
    for (const Index storage : due_[at(stage_)]) {
      if (state(storage).resident || next_user(storage) <= stage_) continue;
      if (next_user(storage) != graph::kNever) due.push_back({storage, 0});
    }
    return bring(due);
  }

  // Reruns whatever is missing.
  bool bring(std::span<const graph::Content> needs) {
    std::vector<Index> groups;
    ++bring_;
    bool twice = false;
    const auto want = [&](Index group) {
      if (std::exchange(in_bring_[at(group)], bring_) == bring_) return;
      twice = twice || std::exchange(in_stage_[at(group)], stage_) == stage_;
      groups.push_back(group);
    };
    for (const graph::Content& need : needs) {
      if (!state(need.storage).resident) want(group_of(need.storage));
    }
    if (groups.empty()) return true;
    std::vector<Index> older;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const Index group = groups[i];
      if (!replays_.may_rerun(group, stage_)) return false;
      older.clear();
      replays_.overwritten_needs(group, stage_, older);
      for (const Index one : older) want(one);
      for (const Index op : replays_.operators(group, stage_)) {
        for (const graph::Content& need : program_.needs(op)) {
          if (state(need.storage).resident || program_.storage(need.storage).given) continue;
          if (group_of(need.storage) != group) want(group_of(need.storage));
        }
      }
      if (twice)
        return false;  // brought back in this stage already, and evicted again: no plan says so
      reruns_.push_back({group, stage_});
    }
    std::vector<Index> ops;
    for (const Index group : groups) {
      const auto members = replays_.operators(group, stage_);
      ops.insert(ops.end(), members.begin(), members.end());
    }
    std::ranges::sort(ops);
    // What a later one of them reads stays, from now on or from where it is made.
    const auto lock = [&](std::span<const graph::Content> list, bool on) {
      for (const graph::Content& need : list) {
        state(need.storage).locks += on ? 1U : static_cast<std::uint32_t>(-1);
      }
    };
    for (const Index op : ops) lock(program_.needs(op), true);
    lock(needs, true);
    bool fits = true;
    for (const Index op : ops) {
      fits = fits && run(op, false);
      lock(program_.needs(op), false);
    }
    lock(needs, false);
    return fits;
  }

  bool run(Index op, bool first) {
    const Program::Op& flat = program_.op(op);
    std::int64_t arriving = 0;
    if (first) {
      for (const Index storage : program_.arrivals(op)) {
        arriving += program_.storage(storage).bytes;
      }
    }
    std::int64_t bytes = std::max(flat.workspace, arriving);
    for (const Index storage : program_.makes(op)) {
      if (!state(storage).resident) bytes += program_.storage(storage).bytes;
    }
    for (const graph::Content& need : program_.needs(op)) ++state(need.storage).locks;
    const bool fits = make_room(bytes);
    for (const graph::Content& need : program_.needs(op)) --state(need.storage).locks;
    if (!fits) return false;
    clock_ += static_cast<double>(flat.ns);
    for (const Index storage : program_.makes(op)) come(storage);
    for (const graph::Content& need : program_.needs(op)) {
      State& one = state(need.storage);
      one.last_use = clock_;
      if (first) ++one.next_user;
      let_go(need.storage);
    }
    for (const Index storage : program_.makes(op)) {
      state(storage).last_use = clock_;
      let_go(storage);
    }
    return true;
  }

  // The program uses it no more: LibTorch would free it.
  void let_go(Index storage) {
    State& one = state(storage);
    if (!one.resident || one.locks > 0 || one.candidate == kNone) return;
    if (next_user(storage) == graph::kNever && is_dispensable(storage)) go(storage);
  }

  void come(Index storage) {
    State& one = state(storage);
    if (one.resident) return;
    one.resident = one.made = true;
    resident_ += program_.storage(storage).bytes;
    one.candidate = static_cast<Index>(candidates_.size());
    candidates_.push_back(storage);
    if (one.component != kNone) {
      components_.add(one.component, -own_ns(storage));
      one.component = kNone;
    }
  }

  void go(Index storage) {
    State& one = state(storage);
    one.resident = false;
    resident_ -= program_.storage(storage).bytes;
    const Index last = candidates_.back();
    candidates_[at(one.candidate)] = last;
    state(last).candidate = one.candidate;
    candidates_.pop_back();
    one.candidate = kNone;
    if (const Index last = last_stage_[at(group_of(storage))];
        returns_ && next_user(storage) > last && last < program_.operators()) {
      due_[at(last)].push_back(storage);
    }
    if (rule_ == Rule::NextUse) return;
    one.component = components_.fresh();
    components_.add(one.component, own_ns(storage));
    for_each_gone_neighbour(
        storage, [&](Index other) { components_.join(one.component, state(other).component); });
  }

  [[nodiscard]] double own_ns(Index storage) const {
    return static_cast<double>(replays_.ns(group_of(storage), program_.operators()));
  }

  template <class Visit>
  void for_each_gone_neighbour(Index storage, Visit visit) {
    const Index group = group_of(storage);
    const auto look = [&](Index other) {
      if (other != storage && state(other).component != kNone) visit(other);
    };
    for (const Index op : replays_.operators(group, program_.operators())) {
      for (const graph::Content& need : program_.needs(op)) look(need.storage);
    }
    for (const Index user : program_.users(storage)) {
      if (user >= stage_) break;
      for (const Index made : program_.makes(user)) look(made);
    }
  }

  double neighbourhood(Index storage) {
    std::array<Index, 16> seen{};
    std::size_t count = 0;
    double ns = 0;
    for_each_gone_neighbour(storage, [&](Index other) {
      const Index root = components_.find(state(other).component);
      const auto end = seen.begin() + static_cast<std::ptrdiff_t>(count);
      if (count == seen.size() || std::find(seen.begin(), end, root) != end) return;
      seen[count++] = root;
      ns += components_.ns(root);
    });
    return ns;
  }

  double score(Index storage) {
    double ns = own_ns(storage) + 1;
    if (rule_ != Rule::NextUse) ns += neighbourhood(storage);
    double away = 0;
    if (rule_ == Rule::DtrEq) {
      away = clock_ - state(storage).last_use + 1;
    } else {
      const Index next = next_user(storage);
      away =
          next == graph::kNever ? starts_.back() * 2 : starts_[at(next)] - starts_[at(stage_)] + 1;
    }
    return ns / (static_cast<double>(program_.storage(storage).bytes) * away);
  }

  bool make_room(std::int64_t bytes) {
    while (resident_ + bytes > budget_) {
      Index best = kNone;
      double lowest = std::numeric_limits<double>::infinity();
      const auto look = [&](Index storage) {
        if (!may_go(storage)) return;
        const double value = score(storage);
        if (value < lowest) {
          lowest = value;
          best = storage;
        }
      };
      constexpr std::size_t kSample = 512;
      if (candidates_.size() > kSample) {
        for (std::size_t i = 0; i < kSample; ++i) look(candidates_[random_() % candidates_.size()]);
      }
      if (best == kNone) std::ranges::for_each(candidates_, look);
      if (best == kNone) return false;
      go(best);
    }
    return true;
  }

  const Replays& replays_;
  const Program& program_;
  std::int64_t budget_;
  Rule rule_;
  bool returns_;
  std::vector<std::vector<Index>> due_;  // by stage: what went, and comes back there at the latest
  std::mt19937_64 random_;
  std::vector<State> states_;
  std::vector<Index> last_stage_;  // by group
  std::vector<Index>
      last_reader_;  // by storage: the last stage in which something that reads it may run again
  std::vector<Index> in_stage_;  // by group: the last stage that reran it
  std::vector<Index> in_bring_;  // by group: the last of the bring()s that wanted it
  Index bring_ = kNone;
  std::vector<double> starts_;  // by operator, in plain time
  std::vector<Index> candidates_;
  Components components_;
  std::vector<Rerun> reruns_;
  std::int64_t resident_ = 0;
  double clock_ = 0;
  Index stage_ = 0;
};

}  // namespace

std::optional<std::vector<Rerun>> walk(const Replays& replays, std::int64_t budget, Rule rule,
                                       std::uint64_t seed, bool returns) {
  return Walk(replays, budget, rule, seed, returns).take();
}

}  // namespace neap::planner
