// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The second promise: LibTorch's memory never exceeds the budget, not for one allocation.
#include "memory/allocator.h"
#include "support/families.h"
#include "support/training_runs.h"

#include <neap/neap.h>

#include <gtest/gtest.h>

#include <iostream>
#include <string>

namespace neap::test {
namespace {

constexpr int kRuns = 1000;

TEST(Budget, is_never_passed_in_a_thousand_runs_and_each_feasible_one_that_is_named_runs) {
  // A named budget is known to work because a step fit in it in this process. A step that began the
  // same way may still end otherwise. So these are the first steps of a training, and no earlier
  // test has run later ones.
  const auto& all = families();
  int fit = 0, refused = 0, named = 0;
  const int per_family = kRuns / static_cast<int>(all.size()) + 1;
  for (const Family& family : all) {
    SCOPED_TRACE(family.name);
    const TrainingRun plain = run_plain(family, 2, 5);
    for (int i = 0; i < per_family; ++i) {
      // From 110 % down to 2 %, in smaller steps where the budget is tight.
      const double place = 1 - static_cast<double>(i) / (per_family - 1);
      const std::int64_t budget = budget_at(plain, 2 + 108 * place * place);
      SCOPED_TRACE(budget);
      try {
        const TrainingRun run = run_in_scope(family, 1, 5, budget);
        EXPECT_EQ(std::max<std::int64_t>(0, run.peak - budget), 0);
        ++fit;
      } catch (const BudgetExceeded& error) {
        ++refused;
        if (error.need.count() == 0) {  // no scope opened: too much is in use
          EXPECT_GT(error.in_use.count(), budget);
          continue;
        }
        EXPECT_LE(memory::watermark(), budget);
        EXPECT_LE(error.in_use.count(), budget);
        if (error.smallest_feasible.count() == 0 || named >= 100) continue;
        ++named;
        EXPECT_GT(error.smallest_feasible, error.budget);
        EXPECT_NO_THROW(run_in_scope(family, 1, 5, error.smallest_feasible.count()))
            << "named as feasible: " << error.smallest_feasible.count();
      }
    }
  }
  std::cout << "  " << fit + refused << " runs: " << fit << " fit, " << refused << " refused, "
            << named << " named feasible budgets run\n";
  EXPECT_GE(fit + refused, kRuns);
  EXPECT_GT(fit, kRuns / 2);
  EXPECT_GT(named, 20);
}

TEST(Budget, that_is_refused_names_the_operator_and_the_largest_that_are_pinned) {
  const Family& family = families()[1];
  const TrainingRun plain = run_plain(family, 1, 5);
  run_in_scope(family, 1, 5, budget_at(plain, 100));
  try {
    run_in_scope(family, 1, 5, budget_at(plain, 2));
    FAIL() << "2 % fit";
  } catch (const BudgetExceeded& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("aten::"), std::string::npos) << text;
    EXPECT_NE(text.find(" needs "), std::string::npos) << text;
    EXPECT_NE(text.find("largest pinned: "), std::string::npos) << text;
    EXPECT_NE(text.find("the smallest budget known to work for this step is "), std::string::npos)
        << text;
  }
}

}  // namespace
}  // namespace neap::test
