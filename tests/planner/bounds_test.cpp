// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A bound that is too large condemns budgets and plans that are good, and nothing else would show it. So it is held against every
// plan that anybody finds, and on tiny traces against the best there is, found by going through all that the rules allow.
#include "planner/bounds.h"

#include "bench/traces/generators.h"
#include "graph/naive_simulator.h"
#include "graph/random_plans.h"
#include "graph/random_traces.h"
#include "planner/emit.h"
#include "planner/local_search.h"
#include "planner/walk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <limits>
#include <optional>
#include <queue>
#include <random>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace neap::planner {
namespace {

using graph::Given;
using graph::Operator;
using graph::Release;
using graph::Step;
using graph::StorageId;
using graph::Trace;

constexpr std::int64_t kNoPlan = std::numeric_limits<std::int64_t>::max();

std::int64_t reruns_ns(const Trace& trace, const graph::Plan& plan) {
  return graph::simulate(trace, plan).ns - graph::plain_plan(trace).predicted_ns;
}

// All plans of a tiny trace, by states. The rules are those of graph::NaiveRules, with a state in 64 bits: 4 for each storage, 0
// or its version and 1; above them how many operators have run.
class AllPlans {
 public:
  explicit AllPlans(const Trace& trace) : rules_(trace) {
    for (const graph::Event& event : trace.events) {
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
        for (const graph::Made& made : op.makes) {
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
  // Of reruns, inside the budget.
  std::int64_t least_ns(std::int64_t budget) {
    return search(budget,
                  [](std::int64_t so_far, std::int64_t, std::int64_t ns) { return so_far + ns; });
  }
  // That of the last search.
  [[nodiscard]] const graph::Plan& plan() const { return plan_; }

 private:
  using State = std::uint64_t;
  struct Store {
    StorageId id;
    std::int64_t bytes;
    std::int64_t arrives = -1;
    std::int64_t released = kNoPlan;
    bool keep = false;
    std::vector<State> newest = {};  // after so many operators
  };
  using Needs = std::vector<std::pair<std::size_t, State>>;
  struct Op {
    std::int64_t ns = 0;
    std::int64_t workspace = 0;
    bool replayable = true;
    std::int64_t bytes = 0;
    std::array<Needs, 2> needs = {};  // of the run, of a rerun
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

  // Calls visit(step, next state, peak, ns of a rerun) for all that may follow.
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

  // Dijkstra's; `sum` says what a step makes of the cost so far.
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

  graph::NaiveRules rules_;
  std::vector<Store> storages_;
  std::vector<Op> ops_;
  graph::Plan plan_;
};

// A few operators, and all that the format has.
Trace tiny_trace(std::mt19937_64& random, int round) {
  return graph::random_trace(random, {.operators = 3 + round % 5,
                                      .head_givens = round % 3,
                                      .late_given = 10,
                                      .mutates_made = round % 2 == 0 ? 40 : 10,
                                      .not_replayable = round % 3 == 0 ? 15 : 0,
                                      .makes_nothing = 5,
                                      .several_outputs = 20,
                                      .released = round % 7 == 0 ? 40 : 90});
}

TEST(Bounds, never_pass_the_best_plan_of_a_tiny_trace_and_are_it_more_often_than_not) {
  std::mt19937_64 random(1);
  int traces = 0, exact_floors = 0, budgets = 0, exact_bounds = 0;
  double shares = 0;
  for (int round = 0; round < 1000; ++round) {
    const Trace trace = tiny_trace(random, round);
    AllPlans all(trace);
    if (!all.is_tiny()) continue;
    ++traces;
    const Program program(trace);
    const Replays replays(program);
    const std::int64_t smallest = all.smallest_peak();
    ASSERT_EQ(graph::simulate(trace, all.plan()).peak, smallest);
    const std::int64_t floor = memory_floor(replays).bytes;
    ASSERT_LE(floor, smallest) << "round " << round;
    exact_floors += floor == smallest ? 1 : 0;
    const std::int64_t over = graph::plain_plan(trace).predicted_peak - smallest;
    for (int part = 0; part < 4; ++part) {
      const std::int64_t budget = smallest + over * part / 4;
      const std::int64_t least = all.least_ns(budget);
      ASSERT_EQ(reruns_ns(trace, all.plan()), least);
      ASSERT_LE(graph::simulate(trace, all.plan()).peak, budget);
      const std::int64_t bound = recompute_bound(replays, budget);
      ASSERT_LE(bound, least) << "round " << round << ", budget " << budget;
      if (least == 0) continue;
      ++budgets;
      exact_bounds += bound == least ? 1 : 0;
      shares += static_cast<double>(bound) / static_cast<double>(least);
    }
  }
  // Weaker bounds are true as well; these say that ours are not.
  EXPECT_GT(exact_floors, traces * 9 / 10);
  EXPECT_GT(exact_bounds, budgets * 3 / 4);
  EXPECT_GT(shares, budgets * 0.85);
}

// Every plan that is taken, at its own peak.
class Holds {
 public:
  explicit Holds(const Trace& trace)
      : trace_(trace), program_(trace), replays_(program_), floor_(memory_floor(replays_)) {}

  void against(const graph::Plan& plan) {
    const std::int64_t peak = graph::simulate(trace_, plan).peak;
    EXPECT_LE(floor_.bytes, peak);
    const std::int64_t bound = recompute_bound(replays_, peak);
    EXPECT_LE(bound, reruns_ns(trace_, plan));
    tight_ += bound > 0 ? 1 : 0;
  }

  // What the rules and the search find when only so many percent of what is over the floor may be taken.
  void against_searches(std::int64_t percent) {
    const std::int64_t plain = graph::plain_plan(trace_).predicted_peak;
    const std::int64_t budget = floor_.bytes + (plain - floor_.bytes) * percent / 100;
    for (const Rule rule : {Rule::DtrEq, Rule::NextUse, Rule::NextUseEq}) {
      const auto reruns = walk(replays_, budget, rule, 1);
      if (!reruns) continue;
      Schedule schedule(replays_);
      for (const Rerun one : *reruns) schedule.add(one);
      against(emit(schedule, budget));
    }
    Schedule schedule(replays_);
    LocalSearch search(schedule, budget, 1);
    if (!search.fit()) return;
    against(emit(schedule, budget));
    search.tidy();
    search.improve(20, std::chrono::steady_clock::time_point::max());
    against(emit(schedule, budget));
  }

  [[nodiscard]] int tight() const { return tight_; }

 private:
  const Trace& trace_;
  Program program_;
  Replays replays_;
  Floor floor_;
  int tight_ = 0;
};

TEST(Bounds, hold_for_every_plan_that_is_found_for_a_random_trace) {
  std::mt19937_64 random(2);
  int tight = 0;
  for (int round = 0; round < 2000 && !testing::Test::HasFailure(); ++round) {
    SCOPED_TRACE(round);
    const Trace trace = graph::random_trace(
        random, {.operators = 4 + round % 20, .not_replayable = round % 3 == 0 ? 6 : 0});
    Holds holds(trace);
    holds.against(graph::plain_plan(trace));
    holds.against(graph::random_plan(random, trace));
    holds.against_searches(20 + round % 70);
    tight += holds.tight();
  }
  EXPECT_GT(tight, 2000) << "where the bound is 0 nothing is tested";
}

TEST(Bounds, hold_for_every_plan_that_is_found_for_a_training_step) {
  for (const std::string_view family : bench::families()) {
    SCOPED_TRACE(family);
    const Trace trace = bench::make_trace(family, 100, 1);
    Holds holds(trace);
    holds.against(graph::plain_plan(trace));
    for (const std::int64_t percent : {80, 60, 40, 20, 10}) holds.against_searches(percent);
    EXPECT_GT(holds.tight(), 1);
  }
}

// What is expected is counted by hand, and the best that there is.
void expect_floor(std::int64_t bytes, Index op, const Trace& trace) {
  const Program program(trace);
  const Floor floor = memory_floor(Replays(program));
  EXPECT_EQ(floor.bytes, bytes);
  EXPECT_EQ(floor.op, op);
  EXPECT_EQ(AllPlans(trace).smallest_peak(), bytes);
}

// `least`: where a part of a storage would do, which the bound takes for possible.
void expect_bound(std::int64_t ns, std::int64_t budget, const Trace& trace,
                  std::optional<std::int64_t> least = {}) {
  const Program program(trace);
  EXPECT_EQ(recompute_bound(Replays(program), budget), ns) << "of budget " << budget;
  EXPECT_EQ(AllPlans(trace).least_ns(budget), least.value_or(ns)) << "of budget " << budget;
}

TEST(MemoryFloor, counts_what_an_operator_takes_and_what_is_given) {
  const Given parameter{.storage = 0, .bytes = 100};
  const Operator first{.reads = {0}, .makes = {{1, 40}}, .workspace = 5};
  expect_floor(145, 0, {{parameter, first}});
  const Operator second{.reads = {1}, .makes = {{2, 20}}, .workspace = 7};
  expect_floor(100 + 40 + 20 + 7, 1, {{parameter, first, second}});
  expect_floor(100 + 40 + 30, 0,
               {{parameter, first, Given{.storage = 3, .bytes = 30}, Release{3}}});
  const Given large{.storage = 4, .bytes = 300};
  expect_floor(400, kNone, {{parameter, large, Release{4}, first}});
  expect_floor(100 + 40 + 20, 2,
               {.events = {parameter, first, Operator{.makes = {{2, 20}}}}, .keep = {1, 2}});
}

// Storage 1, of 30 bytes, is needed by the last operator, and in the way of one that makes 60.
Trace held_over(Operator maker, std::vector<graph::Event> between) {
  Trace trace{{Given{.storage = 0, .bytes = 40}, std::move(maker)}};
  trace.events.insert(trace.events.end(), between.begin(), between.end());
  trace.events.insert(trace.events.end(),
                      {Operator{.makes = {{2, 60}}}, Release{2}, Operator{.reads = {1}}});
  return trace;
}

TEST(MemoryFloor, counts_what_is_needed_later_and_cannot_be_made_again) {
  const Operator maker{.reads = {0}, .makes = {{1, 30}}};
  const Operator once{.reads = {0}, .makes = {{1, 30}}, .replayable = false};
  expect_floor(40 + 60, 1, held_over(maker, {}));
  expect_floor(40 + 60 + 30, 1, held_over(once, {}));
  expect_floor(40 + 60 + 30, 2, held_over(maker, {Operator{.mutates = {0}}}));
  expect_floor(40 + 60 + 30, 2, held_over(maker, {Operator{.mutates = {1}, .replayable = false}}));
  // What cannot be made again is another result of the maker, which nothing needs.
  const Operator both{.reads = {0}, .makes = {{1, 30}, {3, 1}}};
  expect_floor(40 + 60, 2, held_over(both, {Operator{.mutates = {3}, .replayable = false}}));
}

TEST(MemoryFloor, counts_the_less_of_what_is_needed_later_and_what_that_is_made_from) {
  expect_floor(60 + 30, 1, held_over({.reads = {0}, .makes = {{1, 30}}}, {Release{0}}));
  expect_floor(60 + 40, 1, held_over({.reads = {0}, .makes = {{1, 50}}}, {Release{0}}));
  const Operator once{.makes = {{0, 40}}, .replayable = false};
  expect_floor(60 + 40, 2,
               {{once, Operator{.reads = {0}, .makes = {{1, 50}}}, Release{0},
                 Operator{.makes = {{2, 60}}}, Release{2}, Operator{.reads = {1}}}});
}

// Storage 1, of 50 bytes, is needed after an operator that makes 20.
TEST(RecomputeBound, asks_for_the_cheapest_of_what_has_to_go) {
  const Trace trace{{Operator{.makes = {{1, 50}}, .ns = 7}, Operator{.makes = {{2, 50}}, .ns = 9},
                     Operator{.makes = {{3, 20}}}, Release{3}, Operator{.reads = {1}}, Release{1},
                     Operator{.reads = {2}}}};
  expect_bound(0, 120, trace);
  expect_bound(7, 119, trace);  // one byte less: a storage goes whole
  expect_bound(7, 100, trace);
  expect_bound(16, 99, trace);
  expect_bound(kNoPlan, 49, trace);
}

TEST(RecomputeBound, asks_for_whole_ns) {
  Trace trace;
  for (const StorageId id : {1, 2, 3})
    trace.events.emplace_back(Operator{.makes = {{id, 50}}, .ns = 5});
  trace.events.insert(trace.events.end(), {Operator{.makes = {{4, 100}}}, Release{4}});
  for (const StorageId id : {1, 2, 3}) {
    trace.events.insert(trace.events.end(), {Operator{.reads = {id}}, Release{id}});
  }
  expect_bound(7, 250 - 70, trace, 10);  // 70 of 50 bytes for 5 ns
  expect_bound(8, 250 - 71, trace, 10);
}

TEST(RecomputeBound, asks_for_an_operator_once_whatever_it_brings_back) {
  const Trace trace{{Operator{.makes = {{1, 50}, {2, 50}}, .ns = 10}, Operator{.makes = {{3, 60}}},
                     Release{3}, Operator{.reads = {1}}, Operator{.reads = {2}}}};
  expect_bound(10, 159, trace);
  expect_bound(10, 100, trace);
}

// Storage 1, of 50 bytes, is needed after an operator that makes 60.
Trace made_by(std::vector<graph::Event> events) {
  events.insert(events.end(), {Operator{.makes = {{8, 60}}}, Release{8}, Operator{.reads = {1}}});
  return {.events = std::move(events)};
}

TEST(RecomputeBound, asks_for_every_writer_and_for_what_a_rerun_reads) {
  const Operator maker{.makes = {{1, 50}}, .ns = 5};
  expect_bound(5, 109, made_by({maker}));
  expect_bound(5 + 6, 109, made_by({maker, Operator{.mutates = {1}, .ns = 6}}));
  const Operator parent{.makes = {{0, 30}}, .ns = 100};
  const Operator child{.reads = {0}, .makes = {{1, 50}}, .ns = 1};
  expect_bound(0, 110, made_by({parent, child, Release{0}}));
  expect_bound(1, 90, made_by({parent, child, Release{0}}));  // the parent's result is held
  expect_bound(100, 89, made_by({parent, child, Release{0}}), 100 + 1);
}

TEST(RecomputeBound, does_not_ask_for_the_writers_of_what_is_read_at_an_older_version) {
  const Operator old{.makes = {{0, 30}}, .ns = 100};
  const Operator reader{.reads = {0}, .makes = {{1, 50}}, .ns = 1};
  for (const bool replayable : {true, false}) {
    const Operator writer{.mutates = {0}, .ns = 1000, .replayable = replayable};
    expect_bound(100, 89, made_by({old, reader, writer, Release{0}}), 100 + 1);
  }
}

TEST(RecomputeBound, adds_up_what_goes_more_than_once) {
  const Operator use{.reads = {1}};
  Trace trace{{Operator{.makes = {{1, 50}}, .ns = 10}}};
  for (std::int64_t times = 1; times < 5; ++times) {
    const StorageId large = times + 1;
    trace.events.insert(trace.events.end(),
                        {Operator{.makes = {{large, 60}}}, Release{large}, use});
    expect_bound(0, 110, trace);
    expect_bound(10 * times, 109, trace);
  }
}

}  // namespace
}  // namespace neap::planner
