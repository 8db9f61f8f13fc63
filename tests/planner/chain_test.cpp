// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The dynamic program rests on a theorem about the shape of the best persistent schedule. So the
// oracle knows no shape: it walks all states that the stages' runs can lead to, byte by byte, and
// takes the shortest way.
#include "planner/chain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <unordered_set>
#include <utility>

namespace neap::planner {
namespace {

using Chain = std::vector<ChainStage>;
using Action = ChainStep::Action;

std::int64_t between(std::mt19937_64& random, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
}

// What is in memory once, however many values it is of.
struct Item {
  std::size_t first;  // of these values
  std::size_t last;
  std::int64_t bytes;
};
using Items = std::vector<Item>;

// Each stage makes one or two; most are of one value.
Items any_items(std::mt19937_64& random, std::int64_t stages, std::int64_t largest) {
  Items items;
  for (std::int64_t value = 1; value <= stages; ++value) {
    for (std::int64_t i = between(random, 1, 2); i > 0; --i) {
      const std::int64_t last = value + (random() % 2 == 0 ? between(random, 0, 3) : 0);
      items.push_back({static_cast<std::size_t>(value),
                       static_cast<std::size_t>(std::min(last, stages)),
                       between(random, 0, largest)});
    }
  }
  return items;
}

void describe_values(const Items& items, Chain& chain) {
  for (const Item& item : items) {
    for (std::size_t value = item.first; value <= item.last; ++value) {
      ChainStage& maker = chain[value - 1];
      maker.output += item.bytes;
      const std::size_t earlier = value - item.first;
      if (maker.shared.size() < earlier) maker.shared.resize(earlier, 0);
      for (std::size_t i = 0; i < earlier; ++i) maker.shared[i] += item.bytes;
    }
  }
}

std::int64_t fresh(const ChainStage& stage) {
  return stage.output - (stage.shared.empty() ? 0 : stage.shared.front());
}

Chain any_chain(std::mt19937_64& random, std::int64_t stages, std::int64_t largest,
                const Items& items) {
  Chain chain(static_cast<std::size_t>(stages));
  describe_values(items, chain);
  for (ChainStage& stage : chain) {
    stage.ns = between(random, 0, 9);
    stage.forward = between(random, 0, 2);
    stage.gradient = between(random, 0, 3);
    stage.options.resize(static_cast<std::size_t>(between(random, 1, 3)));
    for (ChainOption& option : stage.options) {
      option = {.kept = fresh(stage) + between(random, 0, 2 * largest),
                .backward_ns = between(random, 0, 9),
                .forward = between(random, 0, 3),
                .backward = between(random, 0, 5)};
      option.again_ns = between(random, 0, stage.ns + option.backward_ns);
      option.again = between(random, 0, option.kept + std::max(option.forward, option.backward));
    }
  }
  return chain;
}

// What is in memory between two runs.
struct State {
  std::size_t left = 0;           // stages whose backward did not run
  std::vector<bool> kept = {};    // values, by number
  std::vector<Index> saved = {};  // options, by stage; kNone
  std::size_t loose = 0;          // the value that the last run made; 0: none is there
  std::size_t next = kAny;        // the stage that goes on

  bool again = false;  // the last step ran a stage for its backward, which follows

  static constexpr std::size_t kAny = 15;  // the last step was a backward, or there was none

  // As one number, of 8 stages and 3 options at most.
  [[nodiscard]] std::uint64_t packed() const {
    std::uint64_t number = left;
    for (const bool one : kept) number = number * 2 + (one ? 1 : 0);
    for (const Index one : saved) number = number * 4 + static_cast<std::uint64_t>(one + 1);
    return (number * 16 + loose) * 16 + next;
  }
};

// The rules, and what each step takes.
class Machine {
 public:
  Machine(const Chain& chain, const Items& items) : chain_(chain), items_(items) {}

  State start() const {
    const std::size_t n = chain_.size();
    return {n, std::vector<bool>(n + 1, false), std::vector<Index>(n, graph::kNone)};
  }

  // False: not allowed, or more than `budget`.
  bool take(ChainStep step, std::int64_t budget, State& state, std::int64_t& ns) const {
    const auto at = static_cast<std::size_t>(step.stage);
    if (at >= state.left || !has(state, at)) return false;
    if (state.loose != at) state.loose = 0;
    // Between two backwards the stages run in their order, to the one whose turn it is.
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
    // Nothing can follow.
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

  // With one more value.
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

// Some of them are not allowed.
void append_steps(const Chain& chain, const State& state, std::vector<ChainStep>& steps) {
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

std::optional<std::int64_t> cheapest_of_all(const Chain& chain, const Items& items,
                                            std::int64_t budget) {
  const Machine machine(chain, items);
  std::vector<ChainStep> steps;
  std::map<std::int64_t, std::vector<State>> open;  // by the ns to them
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

// The time of a schedule, each step checked.
std::int64_t ns_of(const Chain& chain, const Items& items, const ChainSchedule& schedule,
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

// A slot for each byte.
std::optional<ChainSchedule> solve_exactly(const Chain& chain, std::int64_t budget) {
  return ChainTable(chain, budget, budget + 1).solve(budget);
}

std::int64_t bytes_of_all(const Chain& chain) {
  std::int64_t sum = 0;
  for (const ChainStage& stage : chain) {
    sum += stage.gradient;
    for (const ChainOption& option : stage.options) sum += option.kept + option.backward;
  }
  return sum;
}

void compare(std::mt19937_64& random, int rounds, std::int64_t fewest, std::int64_t most,
             int& solved) {
  for (int round = 0; round < rounds; ++round) {
    const std::int64_t stages = between(random, fewest, most);
    const std::int64_t largest = between(random, 1, 6);
    const Items items = any_items(random, stages, largest);
    const Chain chain = any_chain(random, stages, largest, items);
    const std::int64_t budget = between(random, 0, bytes_of_all(chain) * 2 / 3);
    const auto expected = cheapest_of_all(chain, items, budget);
    const auto found = solve_exactly(chain, budget);
    ASSERT_EQ(found.has_value(), expected.has_value()) << "round " << round;
    if (!found) continue;
    ++solved;
    ASSERT_EQ(found->ns, *expected) << "round " << round;
    ASSERT_EQ(ns_of(chain, items, *found, budget), found->ns) << "round " << round;
  }
}

TEST(Chain, is_as_cheap_as_the_cheapest_of_all_persistent_schedules) {
  std::mt19937_64 random(1);
  int solved = 0;
  compare(random, 6000, 1, 4, solved);
  compare(random, 600, 5, 6, solved);
  compare(random, 40, 7, 8, solved);
  EXPECT_GT(solved, 3500);
}

// Forward steps to reverse `steps` steps from `kept` states, the first among them; without the one
// that goes with each reversal.
std::int64_t repeated_steps(std::int64_t steps, std::int64_t kept) {
  if (steps == 1) return 0;
  if (kept == 1) return steps * (steps - 1) / 2;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t cut = 1; cut < steps; ++cut) {
    least =
        std::min(least, cut + repeated_steps(steps - cut, kept - 1) + repeated_steps(cut, kept));
  }
  return least;
}

std::int64_t binomial(std::int64_t n, std::int64_t k) {
  std::int64_t product = 1;
  for (std::int64_t i = 1; i <= k; ++i) product = product * (n - k + i) / i;
  return product;
}

// r * steps - C(kept + r, r - 1), where C(kept + r - 1, kept) < steps <= C(kept + r, kept).
// Proposition 1 of "Algorithm 799: revolve", Griewank and Walther, 2000.
std::int64_t binomial_steps(std::int64_t steps, std::int64_t kept) {
  std::int64_t r = 0;
  while (binomial(kept + r, kept) < steps) ++r;
  return r == 0 ? 0 : r * steps - binomial(kept + r, r - 1);
}

TEST(Chain, takes_as_many_forward_steps_as_revolve_when_all_stages_are_alike) {
  for (std::int64_t steps = 1; steps <= 9; ++steps) {
    for (std::int64_t kept = 1; kept <= 4; ++kept) {
      ASSERT_EQ(binomial_steps(steps, kept), repeated_steps(steps, kept)) << steps << ' ' << kept;
    }
  }
  // So large that two stages are never saved together.
  constexpr std::int64_t kSaved = 100;
  const ChainStage stage{
      .ns = 1, .output = 1, .options = {{.kept = kSaved, .again_ns = 1, .again = kSaved}}};
  for (std::int64_t steps = 1; steps <= 60; ++steps) {
    const Chain chain(static_cast<std::size_t>(steps), stage);
    for (std::int64_t kept = 1; kept <= 7; ++kept) {
      const auto found = solve_exactly(chain, kSaved + kept);
      ASSERT_TRUE(found) << steps << ' ' << kept;
      ASSERT_EQ(found->ns, steps + binomial_steps(steps, kept)) << steps << ' ' << kept;
    }
  }
}

TEST(Chain, chooses_by_hand) {
  // Stage 1 can save less and make that again; stage 0, run just for its backward, costs less than
  // with its output.
  const ChainOption all{.kept = 5, .again_ns = 2, .again = 5};
  const ChainOption less{.kept = 2, .backward_ns = 1, .again_ns = 4, .again = 2};
  const Chain chain = {
      {.ns = 3, .output = 1, .gradient = 1, .options = {all}},
      {.ns = 4, .output = 1, .gradient = 1, .options = {all, less}},
  };
  EXPECT_FALSE(solve_exactly(chain, 5));
  EXPECT_EQ(solve_exactly(chain, 11)->ns, 7) << "5 + 5 and a gradient";
  EXPECT_EQ(solve_exactly(chain, 10)->ns, 8) << "5 + 2 and a gradient";
  const auto tight = solve_exactly(chain, 7);
  ASSERT_TRUE(tight);
  EXPECT_EQ(tight->ns, 9) << "stage 0 twice: 3 + 4 + 2";
  const std::vector<ChainStep> steps = {
      {Action::ForwardFromKept, 0}, {Action::ForwardSaving, 1, 0}, {Action::Backward, 1},
      {Action::ForwardSaving, 0},   {Action::Backward, 0},
  };
  EXPECT_EQ(tight->steps, steps);
}

TEST(Chain, never_passes_the_budget_when_slots_are_few) {
  std::mt19937_64 random(2);
  int solved = 0;
  for (int round = 0; round < 2000; ++round) {
    const std::int64_t stages = between(random, 1, 12);
    const Items items = any_items(random, stages, 100'000);
    const Chain chain = any_chain(random, stages, 100'000, items);
    const std::int64_t largest = between(random, 0, bytes_of_all(chain) / 2);
    const ChainTable table(chain, largest, between(random, 1, 60));
    std::int64_t last = std::numeric_limits<std::int64_t>::max();
    for (int share = 1; share <= 4; ++share) {
      const std::int64_t budget = largest * share / 4;
      const auto found = table.solve(budget);
      if (!found) continue;
      ++solved;
      ASSERT_EQ(ns_of(chain, items, *found, budget), found->ns);
      ASSERT_LE(found->ns, last) << "more memory costs no time";
      last = found->ns;
    }
  }
  EXPECT_GT(solved, 2000);
}

TEST(Chain, answers_for_any_budget_of_its_table_what_a_table_of_its_own_would) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    const std::int64_t stages = between(random, 1, 12);
    const Chain chain = any_chain(random, stages, 5, any_items(random, stages, 5));
    const std::int64_t largest = bytes_of_all(chain);
    const ChainTable table(chain, largest, largest + 1);
    for (int i = 0; i < 10; ++i) {
      const std::int64_t budget = between(random, 0, largest);
      const auto one = table.solve(budget);
      const auto other = solve_exactly(chain, budget);
      ASSERT_EQ(one.has_value(), other.has_value());
      if (!one) continue;
      ASSERT_EQ(one->steps, other->steps);
    }
  }
}

TEST(Chain, of_no_stage_has_no_steps) {
  const Chain chain;
  ASSERT_TRUE(solve_exactly(chain, 0));
  EXPECT_TRUE(solve_exactly(chain, 0)->steps.empty());
}

TEST(Chain, of_a_hundred_stages_says_how_long_it_takes) {
  std::mt19937_64 random(4);
  const Items items = any_items(random, 100, 1'000'000);
  const Chain chain = any_chain(random, 100, 1'000'000, items);
  const std::int64_t budget = bytes_of_all(chain) / 8;
  const auto start = std::chrono::steady_clock::now();
  const auto found = ChainTable(chain, budget, 500).solve(budget);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(found);
  EXPECT_EQ(ns_of(chain, items, *found, budget), found->ns);
  // Not asserted: a machine may be busy.
  std::printf("100 stages, 500 slots: %.1f ms\n", took.count());
}

}  // namespace
}  // namespace neap::planner
