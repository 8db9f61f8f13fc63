// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/tracing_rule.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace neap::autoplan {
namespace {

StepId step(std::uint64_t name) { return {name, 1, 1000}; }

TEST(TracingRule, stops_tracing_when_all_steps_are_known_and_begins_again_with_a_new_one) {
  TracingRule rule;
  EXPECT_TRUE(rule.traces());
  int steps = 0;
  for (; rule.traces(); ++steps) rule.met_planned_step();
  EXPECT_EQ(steps, 8);
  rule.met_unplanned_step();
  EXPECT_TRUE(rule.traces());
}

TEST(TracingRule, plans_a_step_the_second_time_only_when_no_plan_was_ever_followed) {
  TracingRule rule;
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(rule.is_worth_a_plan(step(i)));
    rule.plan_was_made();
  }
  EXPECT_FALSE(rule.is_worth_a_plan(step(7)));
  EXPECT_TRUE(rule.is_worth_a_plan(step(7)));
  EXPECT_FALSE(rule.is_worth_a_plan(step(8)));
  rule.plan_was_followed();
  EXPECT_TRUE(rule.is_worth_a_plan(step(9)));
}

TEST(TracingRule, forgets_the_oldest_of_many_steps_that_never_came_again) {
  TracingRule rule;
  for (int i = 0; i < 4; ++i) rule.plan_was_made();
  for (std::uint64_t i = 0; i < 65; ++i) EXPECT_FALSE(rule.is_worth_a_plan(step(i)));
  EXPECT_TRUE(rule.is_worth_a_plan(step(64)));
  EXPECT_FALSE(rule.is_worth_a_plan(step(0)));
}

}  // namespace
}  // namespace neap::autoplan
