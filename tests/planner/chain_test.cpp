// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The schedules of ChainTable, compared with the cheapest schedule by search, with the formula of
// revolve, and with a chain solved by hand.
#include "planner/chain.h"

#include "planner/chain_machine.h"
#include "planner/random_chains.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <random>
#include <vector>

namespace neap::planner {
namespace {

using namespace chains;

// Solves with a slot for each byte, so no size is rounded.
std::optional<ChainSchedule> solve_exactly(const Chain& chain, std::int64_t budget) {
  return ChainTable(chain, budget, budget + 1).solve(budget);
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

// The least number of forward steps to reverse `steps` steps with `kept` kept states, the first
// state among them. The one forward step that belongs to each reversal is not counted.
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

// The same number by a formula:
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
  // What a stage saves is so large that no two stages are saved at the same time.
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
  // Stage 1 can save less and recompute the rest. Stage 0 costs less when it runs just for its
  // backward, because its output is not made again.
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
  // The time is printed and not asserted, because a busy machine takes longer.
  std::printf("100 stages, 500 slots: %.1f ms\n", took.count());
}

}  // namespace
}  // namespace neap::planner
