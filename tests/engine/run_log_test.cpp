// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/run_log.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <optional>

namespace neap::test {
namespace {

using engine::RunLog;

struct Model {
  at::Tensor weight = at::ones({4});
};

void begin(RunLog& log, const Model& model, std::int64_t base,
           std::initializer_list<std::uint64_t> operators) {
  log.start(base);
  log.parameter(*model.weight.storage().unsafeGetStorageImpl());
  for (const std::uint64_t one : operators) log.call(one);
}

// A run without a budget.
void ran(RunLog& log, const Model& model, std::int64_t base,
         std::initializer_list<std::uint64_t> operators, std::int64_t peak) {
  begin(log, model, base, operators);
  log.fitted_plain(peak);
}

void ran_in(RunLog& log, const Model& model, std::initializer_list<std::uint64_t> operators,
            std::int64_t budget) {
  begin(log, model, 1000, operators);
  log.fitted_in(budget);
}

void ran_by_plan(RunLog& log, const Model& model, std::initializer_list<std::uint64_t> operators) {
  begin(log, model, 1000, operators);
  log.followed_plan();
}

void was_refused(RunLog& log, const Model& model, std::initializer_list<std::uint64_t> operators,
                 std::int64_t budget) {
  begin(log, model, 1000, operators);
  log.refused(budget);
}

TEST(RunLog, knows_what_a_step_that_begins_alike_ran_in) {
  RunLog log;
  const Model model;
  ran(log, model, 1000, {1, 2, 3}, 5000);
  begin(log, model, 1000, {});
  EXPECT_EQ(log.smallest_feasible(0), 0) << "nothing has run yet";
  begin(log, model, 1000, {1, 2});
  EXPECT_EQ(log.smallest_feasible(0), 5000);
  EXPECT_EQ(log.smallest_feasible(5000), 0) << "this time it did not fit in that";
  begin(log, model, 1000, {1, 3});
  EXPECT_EQ(log.smallest_feasible(0), 0) << "another step";
  begin(log, model, 1400, {1, 2});
  EXPECT_EQ(log.smallest_feasible(0), 5400) << "more was in memory";
}

TEST(RunLog, the_least_that_a_step_ran_in_counts) {
  RunLog log;
  const Model model;
  ran(log, model, 1000, {1, 2}, 5000);
  ran(log, model, 1000, {1, 2}, 4000);
  ran(log, model, 1000, {1, 2}, 6000);
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(0), 4000);
}

TEST(RunLog, the_steps_that_came_after_it_count_too) {
  RunLog log;
  const Model model;
  ran(log, model, 1000, {1, 2}, 3000);  // makes the optimizer's state
  ran(log, model, 2000, {5, 6}, 4000);  // other operators
  ran(log, model, 2000, {5, 7}, 4500);  // the odd batch at the end
  ran(log, model, 2000, {5, 6}, 4000);  // the next epoch
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(0), 4500);
  begin(log, model, 2000, {5, 6});
  EXPECT_EQ(log.smallest_feasible(0), 4500);
  begin(log, model, 1300, {1});
  EXPECT_EQ(log.smallest_feasible(0), 4800) << "what is in memory beyond it stays there";
}

TEST(RunLog, a_step_that_began_with_less_is_another_training) {
  RunLog log;
  const Model model;
  ran(log, model, 2000, {1, 2}, 3000);
  ran(log, model, 1000, {5, 6}, 9000);
  begin(log, model, 2000, {1});
  EXPECT_EQ(log.smallest_feasible(0), 3000);
}

TEST(RunLog, the_training_of_another_model_came_after_nothing) {
  RunLog log;
  std::optional<Model> first(std::in_place);
  ran(log, *first, 1000, {1, 2}, 3000);
  first.reset();
  const Model second;
  ran(log, second, 1000, {5, 6}, 9000);
  begin(log, second, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(0), 3000);
}

TEST(RunLog, what_ran_by_a_plan_says_nothing_of_a_run_without_one) {
  RunLog log;
  const Model model;
  ran_by_plan(log, model, {1, 2});
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(0), 0);
  // But it keeps its place in the order: after the step before it, and before the next one.
  ran(log, model, 1000, {1, 2}, 3000);
  ran_by_plan(log, model, {1, 2});
  ran(log, model, 1000, {3, 4}, 3500);
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(0), 3500);
}

TEST(RunLog, names_an_eighth_more_than_a_budget_that_worked) {
  RunLog log;
  const Model model;
  ran_in(log, model, {1, 2}, 4000);
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(3000), 4500);
  EXPECT_EQ(log.smallest_feasible(4000), 0) << "this time it did not fit in that";
  ran(log, model, 1000, {1, 2}, 4100);
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(3000), 4100) << "without a budget it took less";
  EXPECT_EQ(log.smallest_feasible(4100), 0);
}

TEST(RunLog, what_worked_below_a_budget_that_was_refused_was_luck) {
  RunLog log;
  const Model model;
  ran_in(log, model, {1, 2}, 8000);
  was_refused(log, model, {1}, 6000);
  ran_in(log, model, {1, 2}, 4000);
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(3000), 9000);
  EXPECT_EQ(log.smallest_feasible(8000), 0);
}

TEST(RunLog, a_refusal_that_the_step_outlived_does_not_count) {
  RunLog log;
  const Model model;
  ran_in(log, model, {1, 2}, 8000);
  begin(log, model, 1000, {1});
  log.refused(6000);  // a second try fitted
  log.call(2);
  log.fitted_in(6000);
  ran_in(log, model, {1, 2}, 4000);
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(3000), 4500);
}

TEST(RunLog, a_refusal_that_a_second_try_made_good_does_not_count_where_the_step_fails_otherwise) {
  RunLog log;
  const Model model;
  ran_in(log, model, {1, 2}, 4000);
  begin(log, model, 1000, {1});
  log.refused(6000);
  log.call(2);  // and an exception of the program
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(3000), 4500);
}

TEST(RunLog, budgets_above_a_refused_one_are_remembered_whatever_lies_below_it) {
  RunLog log;
  const Model model;
  for (std::int64_t budget = 2000; budget < 4000; budget += 100) {
    ran_in(log, model, {1, 2}, budget);
  }
  was_refused(log, model, {1}, 4000);
  ran_in(log, model, {1, 2}, 8000);
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(3000), 9000);
}

TEST(RunLog, what_fitted_beside_less_memory_needs_the_difference_more) {
  RunLog log;
  const Model model;
  ran(log, model, 10000, {1, 2}, 15000);
  ran(log, model, 9900, {1, 2}, 14900);
  begin(log, model, 10000, {1});
  EXPECT_EQ(log.smallest_feasible(0), 15000);
}

TEST(RunLog, a_refusal_of_one_step_says_nothing_of_those_after_it) {
  RunLog log;
  const Model model;
  ran_in(log, model, {1, 2}, 4000);
  ran_in(log, model, {5, 6}, 2000);
  was_refused(log, model, {1}, 3000);
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(3000), 4500);
  begin(log, model, 1000, {5});
  EXPECT_EQ(log.smallest_feasible(1000), 2250);
}

TEST(RunLog, decisions_make_another_step) {
  RunLog log;
  const Model model;
  ran(log, model, 1000, {1, 2}, 3000);
  log.start(1000);
  log.call(1);
  log.decided(7);
  log.call(2);
  EXPECT_EQ(log.smallest_feasible(0), 0);
}

TEST(RunLog, forgets_the_oldest_of_many_kinds) {
  RunLog log;
  const Model model;
  for (std::uint64_t kind = 1; kind <= 100; ++kind) ran(log, model, 1000, {kind, 0}, 3000);
  begin(log, model, 1000, {1});
  EXPECT_EQ(log.smallest_feasible(0), 0);
  begin(log, model, 1000, {99});
  EXPECT_EQ(log.smallest_feasible(0), 3000);
}

}  // namespace
}  // namespace neap::test
