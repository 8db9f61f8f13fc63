// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/planner/chain_machine.h: a machine that runs a chain step by step, and the cheapest
// schedule by a search of all its states.
//
// The dynamic program of planner/chain.h rests on a theorem about the shape of the best persistent
// schedule. The search assumes no shape. It visits all states that steps can lead to, and finds the
// shortest way through them.
#pragma once

#include "planner/chain.h"
#include "planner/random_chains.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

namespace neap::planner::chains {

using Action = ChainStep::Action;

// What is resident between two steps.
struct State {
  std::size_t left = 0;           // stages whose backward has not run yet
  std::vector<bool> kept = {};    // by value: it stays as the start of a later run
  std::vector<Index> saved = {};  // by stage: the option that its run saved, or kNone
  std::size_t loose = 0;          // the value that the last run made and nothing keeps; 0: none
  std::size_t next = kAny;        // the stage that must run next

  bool again = false;  // the last step ran a stage for its backward, which comes next

  // Any stage may run next: the last step was a backward, or there was none.
  static constexpr std::size_t kAny = 15;

  // The state as one number. REQUIRES: at most 8 stages, and 3 options each.
  [[nodiscard]] std::uint64_t packed() const {
    std::uint64_t number = left;
    for (const bool one : kept) number = number * 2 + (one ? 1 : 0);
    for (const Index one : saved) number = number * 4 + static_cast<std::uint64_t>(one + 1);
    return (number * 16 + loose) * 16 + next;
  }
};

// Runs steps by the rules, and counts the bytes and the time of each.
class Machine {
 public:
  Machine(const Chain& chain, const Items& items) : chain_(chain), items_(items) {}

  State start() const {
    const std::size_t n = chain_.size();
    return {n, std::vector<bool>(n + 1, false), std::vector<Index>(n, graph::kNone)};
  }

  // False: the rules do not allow the step, or it needs more than `budget`.
  bool take(ChainStep step, std::int64_t budget, State& state, std::int64_t& ns) const {
    const auto at = static_cast<std::size_t>(step.stage);
    if (at >= state.left || !has(state, at)) return false;
    if (state.loose != at) state.loose = 0;
    // Between two backwards the stages run in their order, up to the one whose backward is next.
    const std::size_t next = step.action == Action::Backward ? at + 1 : at;
    if (state.next != State::kAny && state.next != next) return false;
    state.next = at + 1;
    const ChainStage& stage = chain_[at];
    const bool is_last = at + 1 == state.left;
    if (step.action == Action::Backward) {
      if (!is_last || state.saved[at] == graph::kNone) return false;
      const ChainOption& option = stage.options[static_cast<std::size_t>(state.saved[at])];
      if (!state.again) {
        const std::int64_t first = state.left == chain_.size() ? stage.gradient : 0;
        if (bytes(state) + option.backward + first > budget) return false;
        ns += option.backward_ns;
      }
      state.saved[at] = graph::kNone;
      state.kept[at] = state.again = false;
      state.loose = 0;
      state.next = State::kAny;
      --state.left;
      return true;
    }
    if (step.action == Action::ForwardSaving) {
      if (state.saved[at] != graph::kNone) return false;
      const ChainOption& option = stage.options[static_cast<std::size_t>(step.option)];
      state.again = is_last && state.left < chain_.size();
      ns += state.again ? option.again_ns : stage.ns;
      const std::int64_t more = state.again ? option.again : option.kept + option.forward;
      if (bytes(state) + more > budget) return false;
      if (state.loose == at && at > 0) state.kept[at] = true;
      state.saved[at] = step.option;
      state.loose = 0;
      return true;
    }
    // The last stage must save what its backward needs.
    if (is_last) return false;
    ns += stage.ns;
    if (bytes(state, at + 1) + stage.forward > budget) return false;
    if (step.action == Action::ForwardFromKept && state.loose == at && at > 0) {
      state.kept[at] = true;
    }
    state.loose = at + 1;
    return true;
  }

 private:
  bool has(const State& state, std::size_t value) const {
    return value == 0 || state.kept[value] || state.saved[value - 1] != graph::kNone ||
           state.loose == value;
  }

  // The resident bytes, with value `made` too.
  std::int64_t bytes(const State& state, std::size_t made = 0) const {
    std::int64_t sum =
        state.left < chain_.size() && state.left > 0 ? chain_[state.left - 1].gradient : 0;
    for (std::size_t i = 0; i < chain_.size(); ++i) {
      if (state.saved[i] == graph::kNone) continue;
      const ChainOption& option = chain_[i].options[static_cast<std::size_t>(state.saved[i])];
      sum += option.kept - fresh(chain_[i]);
    }
    for (const Item& item : items_) {
      for (std::size_t value = item.first; value <= item.last; ++value) {
        if (value != made && !has(state, value)) continue;
        sum += item.bytes;
        break;
      }
    }
    return sum;
  }

  const Chain& chain_;
  const Items& items_;
};

// Adds all steps that may follow. Machine::take() refuses some of them.
inline void append_steps(const Chain& chain, const State& state, std::vector<ChainStep>& steps) {
  steps.push_back({Action::Backward, static_cast<Index>(state.left) - 1});
  const std::size_t first = state.next == State::kAny ? 0 : state.next;
  const std::size_t last = state.next == State::kAny ? state.left : state.next + 1;
  for (std::size_t i = first; i < std::min(last, state.left); ++i) {
    const auto stage = static_cast<Index>(i);
    steps.push_back({Action::Forward, stage});
    steps.push_back({Action::ForwardFromKept, stage});
    for (std::size_t option = 0; option < chain[i].options.size(); ++option) {
      steps.push_back({Action::ForwardSaving, stage, static_cast<Index>(option)});
    }
  }
}

inline std::optional<std::int64_t> cheapest_of_all(const Chain& chain, const Items& items,
                                                   std::int64_t budget) {
  const Machine machine(chain, items);
  std::vector<ChainStep> steps;
  std::map<std::int64_t, std::vector<State>> open;  // by the time to reach them
  std::unordered_set<std::uint64_t> closed;
  open[0].push_back(machine.start());
  while (!open.empty()) {
    const std::int64_t ns = open.begin()->first;
    std::vector<State>& nearest = open.begin()->second;
    if (nearest.empty()) {
      open.erase(open.begin());
      continue;
    }
    const State state = std::move(nearest.back());
    nearest.pop_back();
    if (state.left == 0) return ns;
    if (!closed.insert(state.packed()).second) continue;
    steps.clear();
    append_steps(chain, state, steps);
    for (const ChainStep step : steps) {
      State next = state;
      std::int64_t next_ns = ns;
      if (!machine.take(step, budget, next, next_ns)) continue;
      if (!closed.contains(next.packed())) open[next_ns].push_back(std::move(next));
    }
  }
  return {};
}

// Runs a schedule, checks each step, and returns its time.
inline std::int64_t ns_of(const Chain& chain, const Items& items, const ChainSchedule& schedule,
                          std::int64_t budget) {
  const Machine machine(chain, items);
  State state = machine.start();
  std::int64_t ns = 0;
  for (std::size_t i = 0; i < schedule.steps.size(); ++i) {
    EXPECT_TRUE(machine.take(schedule.steps[i], budget, state, ns)) << "step " << i;
  }
  EXPECT_EQ(state.left, 0U);
  return ns;
}

}  // namespace neap::planner::chains
