// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The first promise: inside any budget, a training step leaves the same bytes as plain LibTorch.
#include "support/families.h"
#include "support/training_runs.h"

#include <neap/neap.h>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <optional>

namespace neap::test {
namespace {

constexpr int kSteps = 3;
constexpr int kBudgets = 10;

void expect_equal(const TrainingRun& plain, const TrainingRun& run) {
  ASSERT_EQ(plain.states.size(), run.states.size());
  for (std::size_t step = 0; step < plain.states.size(); ++step) {
    ASSERT_EQ(plain.states[step].first_difference(run.states[step]), "") << "in step " << step;
  }
}

std::optional<TrainingRun> try_run(const Family& family, std::uint64_t seed, std::int64_t budget) {
  try {
    return run_in_scope(family, kSteps, seed, budget);
  } catch (const BudgetExceeded&) {
    return std::nullopt;
  }
}

// Finds it to one percent, by halving.
double smallest_feasible_percent(const Family& family, std::uint64_t seed,
                                 const TrainingRun& plain) {
  double fits = 100, too_small = 0;
  while (fits - too_small > 1) {
    const double middle = std::round((fits + too_small) / 2);
    if (middle == fits || middle == too_small) break;
    (try_run(family, seed, budget_at(plain, middle)) ? fits : too_small) = middle;
  }
  return fits;
}

class EqualBits : public testing::TestWithParam<Family> {
 public:
  ~EqualBits() override { at::set_num_threads(1); }

 protected:
  // Returns the smallest share that fits, in percent.
  static double expect_equal_bits_down_to_the_smallest_budget(std::uint64_t seed) {
    const Family& family = GetParam();
    const TrainingRun plain = run_plain(family, kSteps, seed);
    // Runs plainly twice: a family that differs from itself would prove nothing.
    expect_equal(plain, run_plain(family, kSteps, seed));
    expect_equal(plain, run_in_scope(family, kSteps, seed, 0));
    const double smallest = smallest_feasible_percent(family, seed, plain);
    std::int64_t replays = 0;
    for (int i = 0; i < kBudgets; ++i) {
      const double percent = 100 - (100 - smallest) * i / (kBudgets - 1);
      SCOPED_TRACE(std::to_string(percent) + " %");
      const std::int64_t budget = budget_at(plain, percent);
      const std::optional<TrainingRun> run = try_run(family, seed, budget);
      // Online, a larger budget does not always fit when a smaller one does. But the two ends of
      // the range were run before, so they must fit.
      if (i == 0 || i == kBudgets - 1) {
        EXPECT_TRUE(run) << "did not fit";
      }
      if (!run) continue;
      expect_equal(plain, *run);
      EXPECT_LE(run->peak, budget);
      replays = std::max(replays, run->replays);
    }
    EXPECT_GT(replays, 0) << "the budgets were not tight, so nothing was tested";
    return smallest;
  }
};

TEST_P(EqualBits, hold_from_the_full_budget_down_to_the_smallest_that_fits) {
  const double first = expect_equal_bits_down_to_the_smallest_budget(1);
  const double second = expect_equal_bits_down_to_the_smallest_budget(2);
  std::cout << "  " << GetParam().name << ": smallest shares that fit " << first << " %, " << second
            << " %\n";
  RecordProperty("smallest_percent", static_cast<int>(first));
}

TEST_P(EqualBits, hold_with_two_threads) {
  if (!GetParam().two_threads) GTEST_SKIP() << "three families run with two threads";
  at::set_num_threads(2);
  expect_equal_bits_down_to_the_smallest_budget(3);
}

std::string name_of(const testing::TestParamInfo<Family>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Families, EqualBits, testing::ValuesIn(families()), name_of);

TEST(EqualBitsOfFamilies, ten_families_or_more_fit_into_35_percent) {
  int fit = 0;
  for (const Family& family : families()) {
    const TrainingRun plain = run_plain(family, kSteps, 1);
    if (try_run(family, 1, budget_at(plain, 35))) ++fit;
  }
  EXPECT_GE(fit, 10);
}

}  // namespace
}  // namespace neap::test
