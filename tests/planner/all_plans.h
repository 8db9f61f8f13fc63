// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The best plan of a tiny trace, found by trying everything that the rules allow.
#pragma once

#include "graph/naive_simulator.h"
#include "graph/random_traces.h"

#include <neap/graph.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <queue>
#include <random>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace neap::graph {

inline constexpr std::int64_t kNoPlan = std::numeric_limits<std::int64_t>::max();

// A trace of a few operators with everything that the format allows.
inline Trace tiny_trace(std::mt19937_64& random, int round) {
  return random_trace(random, {.operators = 3 + round % 5,
                               .head_givens = round % 3,
                               .late_given = 10,
                               .mutates_made = round % 2 == 0 ? 40 : 10,
                               .not_replayable = round % 3 == 0 ? 15 : 0,
                               .makes_nothing = 5,
                               .several_outputs = 20,
                               .released = round % 7 == 0 ? 40 : 90});
}

// All plans of a tiny trace, as states. The rules are those of NaiveRules. A state has 64 bits: 4
// for each storage, which hold 0 or its version and 1, and above them the number of operators that
// have run.
class AllPlans {
 public:
  explicit AllPlans(const Trace& trace) : rules_(trace) {
    for (const Event& event : trace.events) {
      if (const auto* const given = std::get_if<Given>(&event)) {
        storages_.push_back({.id = given->storage, .bytes = given->bytes, .arrives = count()});
      } else if (const auto* const release = std::get_if<Release>(&event)) {
        storages_[number(release->storage)].released = count();
      } else {
        const auto& op = std::get<Operator>(event);
        Op flat{.ns = op.ns, .workspace = op.workspace, .replayable = op.replayable};
        flat.needs[0] = needs({Step::Action::Run, std::ssize(ops_)});
        flat.needs[1] = needs({Step::Action::Rerun, std::ssize(ops_)});
        for (const StorageId id : op.mutates) {
          flat.mutates |= one(number(id));
          flat.replayable = flat.replayable && storages_[number(id)].arrives < 0;
        }
        for (const StorageId id : op.mutates_once) flat.once |= one(number(id));
        for (const Made& made : op.makes) {
          flat.makes.push_back(storages_.size());
          flat.bytes += made.bytes;
          storages_.push_back({.id = made.storage, .bytes = made.bytes});
        }
        ops_.push_back(flat);
      }
    }
    for (const StorageId id : trace.keep) storages_[number(id)].keep = true;
    for (Store& store : storages_) {
      for (std::int64_t i = 0; i <= count(); ++i) {
        store.newest.push_back(static_cast<State>(rules_.version_before(store.id, i)) + 1);
      }
    }
  }

  [[nodiscard]] bool is_tiny() const {
    return storages_.size() <= 14 &&
           std::ranges::all_of(storages_, [](const Store& one) { return one.newest.back() < 16; });
  }
  std::int64_t smallest_peak() {
    return search(kNoPlan, [](std::int64_t so_far, std::int64_t peak, std::int64_t) {
      return std::max(so_far, peak);
    });
  }
  // The least time of reruns inside the budget.
  std::int64_t least_ns(std::int64_t budget) {
    return search(budget,
                  [](std::int64_t so_far, std::int64_t, std::int64_t ns) { return so_far + ns; });
  }
  // The plan of the last search.
  [[nodiscard]] const Plan& plan() const { return plan_; }

 private:
  using State = std::uint64_t;
  struct Store {
    StorageId id;
    std::int64_t bytes;
    std::int64_t arrives = -1;
    std::int64_t released = kNoPlan;
    bool keep = false;
    std::vector<State> newest = {};  // by the number of operators
  };
  using Needs = std::vector<std::pair<std::size_t, State>>;
  struct Op {
    std::int64_t ns = 0;
    std::int64_t workspace = 0;
    bool replayable = true;
    std::int64_t bytes = 0;
    std::array<Needs, 2> needs = {};  // for the run, for a rerun
    State mutates = 0;
    State once = 0;
    std::vector<std::size_t> makes = {};
  };
  struct Label {
    std::int64_t cost;
    State from;
    Step step;
  };

  static State one(std::size_t storage) { return State{1} << (4 * storage); }
  static State at(State state, std::size_t storage) { return state >> (4 * storage) & 15; }
  static std::size_t ran(State state) { return state >> 56; }
  [[nodiscard]] std::int64_t count() const { return std::ssize(ops_); }
  [[nodiscard]] std::size_t number(StorageId id) const {
    return static_cast<std::size_t>(std::ranges::find(storages_, id, &Store::id) -
                                    storages_.begin());
  }
  [[nodiscard]] Needs needs(const Step& step) const {
    Needs all;
    for (const auto& [id, version] : rules_.needs(step)) {
      all.emplace_back(number(id), static_cast<State>(version) + 1);
    }
    return all;
  }

  [[nodiscard]] std::int64_t bytes(State state) const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < storages_.size(); ++i) {
      if (at(state, i) != 0) sum += storages_[i].bytes;
    }
    return sum;
  }
  void arrive(State& state) const {
    for (std::size_t i = 0; i < storages_.size(); ++i) {
      if (storages_[i].arrives == static_cast<std::int64_t>(ran(state))) state |= one(i);
    }
  }
  [[nodiscard]] bool in_mid_chain(State state, std::size_t i) const {
    return at(state, i) > 1 && at(state, i) < storages_[i].newest[ran(state)];
  }
  [[nodiscard]] bool may_end(State state) const {
    bool may = ran(state) == ops_.size();
    for (std::size_t i = 0; i < storages_.size(); ++i) {
      may = may && !in_mid_chain(state, i);
      may = may && (!storages_[i].keep || at(state, i) == storages_[i].newest.back());
    }
    return may;
  }

  // Calls visit(step, next state, peak, ns of a rerun) for every step that may follow.
  template <class Visit>
  void each(State state, Visit visit) const {
    const std::int64_t held = bytes(state);
    for (std::size_t i = 0; i < storages_.size(); ++i) {
      const Store& store = storages_[i];
      if (at(state, i) == 0 || in_mid_chain(state, i)) continue;
      const auto now = static_cast<std::int64_t>(ran(state));
      if (store.arrives >= 0 && store.released > now) continue;
      visit(Step{Step::Action::Free, store.id}, state & ~(one(i) * 15), held, 0);
    }
    for (std::size_t i = 0; i <= ran(state) && i < ops_.size(); ++i) {
      const Op& op = ops_[i];
      const bool again = i < ran(state);
      const auto is_there = [&](const auto& need) { return at(state, need.first) == need.second; };
      if (!std::ranges::all_of(op.needs.at(again ? 1 : 0), is_there)) continue;
      State next = state;
      for (const std::size_t made : op.makes) next |= at(next, made) == 0 ? one(made) : 0;
      const bool brings = next != state || op.mutates != 0;
      if (again && (!op.replayable || !brings)) continue;
      next += op.mutates;
      if (!again) {
        next += op.once + (State{1} << 56);
        arrive(next);
      }
      const std::int64_t peak = std::max(held + op.bytes + op.workspace, bytes(next));
      visit(Step{again ? Step::Action::Rerun : Step::Action::Run, static_cast<std::int64_t>(i)},
            next, peak, again ? op.ns : 0);
    }
  }

  // Dijkstra's algorithm; `sum` gives the cost so far with a step added.
  template <class Sum>
  std::int64_t search(std::int64_t budget, Sum sum) {
    std::unordered_map<State, Label> labels;
    using Entry = std::pair<std::int64_t, State>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
    State start = 0;
    arrive(start);
    const std::int64_t head = sum(0, bytes(start), 0);
    labels[start] = {head, start, {}};
    open.emplace(head, start);
    while (!open.empty()) {
      const auto [cost, state] = open.top();
      open.pop();
      if (cost > labels.at(state).cost) continue;
      if (may_end(state)) {
        plan_ = {};
        for (State at = state; at != start; at = labels.at(at).from) {
          plan_.steps.push_back(labels.at(at).step);
        }
        std::ranges::reverse(plan_.steps);
        return cost;
      }
      const auto visit = [&, from = state, so_far = cost](Step step, State next, std::int64_t peak,
                                                          std::int64_t ns) {
        if (peak > budget) return;
        const std::int64_t now = sum(so_far, peak, ns);
        const auto [found, fresh] = labels.try_emplace(next, Label{now, from, step});
        if (!fresh && found->second.cost <= now) return;
        found->second = {now, from, step};
        open.emplace(now, next);
      };
      each(state, visit);
    }
    return kNoPlan;
  }

  NaiveRules rules_;
  std::vector<Store> storages_;
  std::vector<Op> ops_;
  Plan plan_;
};

}  // namespace neap::graph
