// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/walk.h"

#include "planner/h_dtr_eq.h"

#include <algorithm>
#include <limits>
#include <random>
#include <utility>

namespace neap::planner {
namespace {

std::size_t at(Index i) { return static_cast<std::size_t>(i); }

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
        in_bring_(at(replays.groups()), kNone) {
    find_last_stages();
    starts_.reserve(at(program_.operators()));
    double clock = 0;
    for (Index op = 0; op < program_.operators(); ++op) {
      starts_.push_back(clock);
      clock += static_cast<double>(program_.op(op).ns);
    }
    starts_.push_back(clock);
  }

  std::optional<std::vector<GroupRerun>> take() {
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
    Index candidate = kNone;  // index in candidates_
    EvictedSets::Set evicted_set = EvictedSets::kNone;
    std::uint32_t locks = 0;
    std::uint32_t next_user = 0;  // index in its users
    double last_use = 0;
  };
  State& state(Index storage) { return states_[at(storage)]; }
  [[nodiscard]] const State& state(Index storage) const { return states_[at(storage)]; }

  // For each group, with all that it is made from: the last stage in which everything may run
  // again, or is held because it may not.
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

  // The stage until which `content` is available. `last`: the last stage in which it can be remade.
  // If the program uses it after that, it stays until its last use.
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
  // The program no longer needs it, and it can be remade, or no rerun can read it any more.
  [[nodiscard]] bool is_dispensable(Index storage) const {
    return stage_ <= last_stage_[at(group_of(storage))] || stage_ >= last_reader_[at(storage)];
  }

  void arrive(Index op) {
    for (const Index storage : program_.arrivals(op)) {
      state(storage).made = state(storage).resident = true;
      resident_ += program_.storage(storage).bytes;
    }
  }

  // Restores what the program still needs and what could not be remade after this stage.
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
      // It was restored in this stage before, and evicted again: a schedule cannot express that.
      if (twice) return false;
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

  // The program no longer uses it: LibTorch would free it.
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
    if (one.evicted_set != EvictedSets::kNone) {
      evicted_.subtract(one.evicted_set, own_ns(storage));
      one.evicted_set = EvictedSets::kNone;
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
    one.evicted_set = evicted_.add(own_ns(storage));
    for_each_gone_neighbour(
        storage, [&](Index other) { evicted_.join(one.evicted_set, state(other).evicted_set); });
  }

  [[nodiscard]] double own_ns(Index storage) const {
    return static_cast<double>(replays_.ns(group_of(storage), program_.operators()));
  }

  template <class Visit>
  void for_each_gone_neighbour(Index storage, Visit visit) {
    const Index group = group_of(storage);
    const auto look = [&](Index other) {
      if (other != storage && state(other).evicted_set != EvictedSets::kNone) visit(other);
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
    return evicted_.sum_of([&](const auto& visit) {
      for_each_gone_neighbour(storage, [&](Index other) { visit(state(other).evicted_set); });
    });
  }

  double score(Index storage) {
    const double around = rule_ != Rule::NextUse ? neighbourhood(storage) : 0;
    double away = clock_ - state(storage).last_use;
    if (rule_ != Rule::DtrEq) {
      const Index next = next_user(storage);
      away =
          next == graph::kNever ? starts_.back() * 2 - 1 : starts_[at(next)] - starts_[at(stage_)];
    }
    return h_dtr_eq(own_ns(storage), around, program_.storage(storage).bytes, away);
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
  // by stage: evicted storages that must be restored there at the latest
  std::vector<std::vector<Index>> due_;
  std::mt19937_64 random_;
  std::vector<State> states_;
  std::vector<Index> last_stage_;  // by group
  // By storage: the last stage in which a reader of it may run again.
  std::vector<Index> last_reader_;
  std::vector<Index> in_stage_;  // by group: the last stage that reran it
  std::vector<Index> in_bring_;  // by group: the last bring() that wanted it
  Index bring_ = kNone;
  std::vector<double> starts_;  // by operator, in plain time
  std::vector<Index> candidates_;
  EvictedSets evicted_;
  std::vector<GroupRerun> reruns_;
  std::int64_t resident_ = 0;
  double clock_ = 0;
  Index stage_ = 0;
};

}  // namespace

std::optional<std::vector<GroupRerun>> walk(const Replays& replays, std::int64_t budget, Rule rule,
                                            std::uint64_t seed, bool returns) {
  return Walk(replays, budget, rule, seed, returns).take();
}

}  // namespace neap::planner
