// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Steps that follow plans: equal bits inside the budget, as foreseen. Also what happens when a step
// differs from what was foreseen.
#include "checkpoint/planned.h"
#include "support/families.h"
#include "support/training_runs.h"

#include <neap/neap.h>

#include <gtest/gtest.h>

#include <iterator>
#include <map>
#include <optional>

namespace neap::test {
namespace {

// The families whose steps are the same each time.
std::vector<Family> repeating_families() {
  std::vector<Family> chosen;
  for (const Family& family : families()) {
    if (family.name != "tree_net" && family.name != "experts") chosen.push_back(family);
  }
  return chosen;
}

class PlannedFamilies : public testing::TestWithParam<Family> {};

TEST_P(PlannedFamilies, have_equal_bits_at_ten_budgets_and_follow_their_plans) {
  constexpr int kSteps = 4;
  const Family& family = GetParam();
  const TrainingRun plain = run_plain(family, kSteps, 1);
  int ran = 0, hits = 0;
  for (int percent = 95; percent > 0; percent -= 10) {
    SCOPED_TRACE(std::to_string(percent) + " %");
    const std::int64_t budget = budget_at(plain, percent);
    std::optional<TrainingRun> run;
    try {
      run = run_in_scope(family, kSteps, 1, budget, Planned{});
    } catch (const BudgetExceeded&) {
      break;
    }
    for (std::size_t step = 0; step < plain.states.size(); ++step) {
      ASSERT_EQ(plain.states[step].first_difference(run->states[step]), "") << "in step " << step;
    }
    EXPECT_LE(run->peak, budget);
    ++ran;
    if (run->last.plan_hits == 0) continue;
    ++hits;
    EXPECT_EQ(run->last.plan_misses, 0);
    EXPECT_GT(run->last.planned_operators, 0);
    EXPECT_GT(run->last.predicted_ns, 0);
    EXPECT_LE(run->last.predicted_peak_bytes, budget);
  }
  EXPECT_GE(hits, 3) << "from 95 % down";
  EXPECT_GE(hits, ran - 1) << "near the floor the allocator's own bytes may be wanting";
}

std::string name_of(const testing::TestParamInfo<Family>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Families, PlannedFamilies, testing::ValuesIn(repeating_families()),
                         name_of);

TEST(PlannedSteps, recompute_no_more_than_the_plan_says_and_evict_nothing_else) {
  // What a step takes beyond its storages: slabs.
  constexpr std::int64_t kSlab = 4 * 4096;
  Chain chain(24);
  const Bytes budget = budget_of(12);
  const Stats first = run(std::ref(chain), budget);
  EXPECT_EQ(first.plan_hits + first.plan_misses + first.planned_operators, 0);
  EXPECT_GT(first.replays, 0);
  const ByteLists expected = chain.bits;
  const Stats second = run(std::ref(chain), budget);
  EXPECT_EQ(second.plan_hits, 1);
  EXPECT_EQ(second.plan_misses, 0);
  EXPECT_EQ(second.unplanned_bytes, 0);
  EXPECT_LE(second.replays, first.replays);
  EXPECT_GT(second.replays, 0);
  EXPECT_GT(second.planning_ns, 0);
  EXPECT_GT(second.predicted_peak_bytes, second.peak_bytes - kSlab);
  EXPECT_EQ(first_difference(chain.bits, expected), std::nullopt);
  // The next step follows the same plan, and nothing is decided anew.
  const Stats third = run(std::ref(chain), budget);
  EXPECT_EQ(third.plan_hits, 1);
  EXPECT_EQ(third.replays, second.replays);
  EXPECT_EQ(third.evictions, second.evictions);
  EXPECT_GE(third.predicted_peak_bytes, third.peak_bytes) << "the second has shown the slabs";
  EXPECT_LT(third.predicted_peak_bytes, third.peak_bytes + kSlab);
}

// A plan frees storages after their last use. Where there is room, they stay until the program lets
// go of them.
TEST(PlannedSteps, evict_nothing_where_everything_fits) {
  Chain chain(24);
  const Bytes budget = budget_of(120);
  run(std::ref(chain), budget);
  const Stats second = run(std::ref(chain), budget);
  EXPECT_EQ(second.plan_hits, 1);
  EXPECT_EQ(second.evictions, 0);
  EXPECT_EQ(second.replays, 0);
}

TEST(PlannedSteps, of_a_larger_budget_recompute_no_longer_than_those_of_a_smaller_one) {
  Chain chain(60);
  std::map<int, std::int64_t> replays;  // by budget in tensors
  for (int round = 0; round < 2; ++round) {
    for (const int tensors : {18, 14, 24, 12, 20, 16, 32, 28}) {
      const Bytes budget = budget_of(tensors);
      run(std::ref(chain), budget);
      const Stats stats = run(std::ref(chain), budget);
      ASSERT_EQ(stats.plan_hits, 1) << tensors;
      replays[tensors] = stats.replays;
    }
  }
  for (auto next = std::next(replays.begin()); next != replays.end(); ++next) {
    EXPECT_LE(next->second, std::prev(next)->second) << next->first;
  }
}

TEST(PlannedSteps, go_on_line_when_asked_to) {
  Chain chain(24);
  const Bytes budget = budget_of(12);
  for (int i = 0; i < 3; ++i) {
    const Stats stats = run(std::ref(chain), budget, Online{});
    EXPECT_EQ(stats.planned_operators, 0);
    EXPECT_EQ(stats.planning_ns, 0);
  }
}

// In each round, another operator of the forward differs from what the plan foresees.
TEST(PlannedSteps, go_on_line_from_the_first_call_that_differs_wherever_it_is) {
  Chain chain(16);
  const Bytes budget = budget_of(10);
  run(std::ref(chain), budget);
  ASSERT_EQ(run(std::ref(chain), budget).plan_hits, 1);
  for (int at = 0; at < chain.length; ++at) {
    SCOPED_TRACE(at);
    chain.deviates_at = at;
    chain();
    const ByteLists plain = chain.bits;
    const Stats stats = run(std::ref(chain), budget);
    EXPECT_EQ(stats.plan_hits, 0);
    EXPECT_EQ(stats.plan_misses, 1);
    EXPECT_LT(stats.planned_operators, stats.operators);
    EXPECT_EQ(first_difference(plain, chain.bits), std::nullopt);
  }
  chain.deviates_at = -1;
  run(std::ref(chain), budget);  // it may be taken for a deviating step at first
  EXPECT_EQ(run(std::ref(chain), budget).plan_hits, 1) << "the plan is still there";
}

TEST(PlannedSteps, that_end_too_early_or_throw_leave_the_plan_as_it_is) {
  Chain chain(16);
  const Bytes budget = budget_of(10);
  run(std::ref(chain), budget);
  ASSERT_EQ(run(std::ref(chain), budget).plan_hits, 1);
  const auto part = [&] {
    at::Tensor y = chain.x.detach().requires_grad_();
    for (int i = 0; i < 5; ++i) y = y.tanh();
  };
  const Stats short_step = run(part, budget);
  EXPECT_EQ(short_step.plan_misses, 0);
  EXPECT_EQ(short_step.planned_operators, 5);
  const auto throws = [&] {
    part();
    throw std::runtime_error("of the program");
  };
  EXPECT_THROW(run(throws, budget), std::runtime_error);
  finish_planning();
  EXPECT_EQ(run(std::ref(chain), budget).plan_hits, 1);
}

// An optimizer that steps every third time and batches of two lengths give several kinds of steps.
TEST(PlannedSteps, have_a_plan_for_each_kind_of_step) {
  Chain a(16), b(20);
  Chain longer(16);
  const auto with_more = [&] {
    longer();
    longer.x.mul(2).add_(1);
  };
  const Bytes budget = budget_of(14);
  Stats last_a, last_b, last_longer;
  for (int round = 0; round < 6; ++round) {
    last_a = run(std::ref(a), budget);
    run(std::ref(a), budget);
    last_longer = run(with_more, budget);
    last_b = run(std::ref(b), budget);
  }
  EXPECT_EQ(last_a.plan_hits, 1);
  EXPECT_EQ(last_longer.plan_hits, 1) << last_longer.plan_note;
  EXPECT_EQ(last_b.plan_hits, 1);
}

// No length comes a second time. Planning gives up after a few steps, and the training goes on.
TEST(PlannedSteps, of_new_shapes_each_time_stay_on_line_with_equal_bits) {
  for (int i = 0; i < 12; ++i) {
    Chain chain(16);
    chain.x = square(3).narrow(0, 0, 40 + i).clone();
    const Bytes budget = budget_of(9);
    chain();
    const ByteLists plain = chain.bits;
    const Stats stats = run(std::ref(chain), budget);
    EXPECT_EQ(stats.plan_hits, 0);
    EXPECT_EQ(first_difference(plain, chain.bits), std::nullopt);
  }
}

// Each budget has its own plan, and the first plan is still known afterwards.
TEST(PlannedSteps, know_their_budget) {
  Chain chain(24);
  const Bytes tight = budget_of(10);
  const Bytes roomy = tight + Bytes(6 * kTensor);
  const auto third = [&](Bytes budget) {
    for (int i = 0; i < 2; ++i) run(std::ref(chain), budget);
    return run(std::ref(chain), budget);
  };
  const Stats at_tight = third(tight);
  const Stats at_roomy = third(roomy);
  EXPECT_EQ(at_tight.plan_hits, 1) << at_tight.plan_note;
  EXPECT_EQ(at_roomy.plan_hits, 1);
  EXPECT_LT(at_roomy.replays, at_tight.replays);
  EXPECT_EQ(run(std::ref(chain), tight).plan_hits, 1);
}

// More memory is in use outside the step than when it was traced, so the plan would not fit.
TEST(PlannedSteps, make_a_new_plan_when_less_is_left_for_them) {
  Chain chain(24);
  const Bytes budget = budget_of(14);
  run(std::ref(chain), budget);
  ASSERT_EQ(run(std::ref(chain), budget).plan_hits, 1);
  const std::vector<at::Tensor> held = {square(5), square(6), square(7)};
  EXPECT_EQ(run(std::ref(chain), budget).planned_operators, 0);
  const Stats stats = run(std::ref(chain), budget);
  EXPECT_EQ(stats.plan_hits, 1);
  EXPECT_EQ(stats.unplanned_bytes, 0);
}

// A hook takes memory while the step runs. No operator does it, so no trace has it.
TEST(PlannedSteps, that_fall_short_are_planned_again) {
  Chain chain(22);  // no other test has it: a good plan is kept
  const Bytes budget = budget_of(14);
  run(std::ref(chain), budget);
  const Stats planned = run(std::ref(chain), budget);
  ASSERT_EQ(planned.plan_hits, 1);
  const std::int64_t missing = budget.count() - planned.peak_bytes + 2 * kTensor;
  const auto crowded = [&] {
    const c10::DataPtr taken = memory::allocator().allocate(static_cast<std::size_t>(missing));
    chain();
  };
  const Stats first = run(crowded, budget);
  ASSERT_EQ(first.plan_hits, 1);
  ASSERT_GT(first.unplanned_bytes, 0) << "the plan had room to spare";
  const Stats second = run(crowded, budget);
  EXPECT_EQ(second.plan_hits, 1);
  EXPECT_NE(second.planning_ns, first.planning_ns) << "it is still the same plan";
}

// Nothing could bring these storages back. So they stay until the program lets go of them, though
// the step no longer uses them.
TEST(PlannedSteps, count_with_what_the_program_holds_and_nothing_can_make_again) {
  Chain chain(24);
  const auto step = [&] {
    std::vector<at::Tensor> held;
    for (int i = 0; i < 4; ++i) held.push_back(torch::full({squares::kSide, squares::kSide}, i));
    chain();
  };
  const Bytes budget = budget_of(14);
  for (int i = 0; i < 2; ++i) run(step, budget);
  const Stats stats = run(step, budget);
  EXPECT_EQ(stats.plan_hits, 1) << stats.plan_note;
  EXPECT_EQ(stats.unplanned_bytes, 0);
}

}  // namespace
}  // namespace neap::test
