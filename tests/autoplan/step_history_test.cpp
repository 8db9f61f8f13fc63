// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/step_history.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace neap::autoplan {
namespace {

StepId step(char kind) { return {static_cast<std::uint64_t>(kind), 1, 1000}; }

// What is expected after each step; '-' where nothing is.
std::string expectations(std::string_view kinds) {
  StepHistory history;
  std::string expected;
  for (const char kind : kinds) {
    history.add(step(kind));
    const std::optional<StepId> next = history.expected();
    expected += next ? static_cast<char>(next->calls) : '-';
  }
  return expected;
}

// How many steps of the periods after the second are not expected.
int surprises(const std::string& period) {
  std::string kinds;
  for (int i = 0; i < 5; ++i) kinds += period;
  const std::string expected = expectations(kinds);
  int count = 0;
  for (std::size_t i = 2 * period.size(); i < kinds.size(); ++i) {
    count += kinds[i] != expected[i - 1] ? 1 : 0;
  }
  return count;
}

TEST(StepHistory, expects_nothing_before_a_step_has_been_followed) {
  EXPECT_EQ(StepHistory().expected(), std::nullopt);
  EXPECT_EQ(expectations("abc"), "---");
}

TEST(StepHistory, expects_what_came_the_last_time) {
  EXPECT_EQ(expectations("aaa"), "-aa");
  EXPECT_EQ(expectations("ababac"), "--bab-");  // nothing ever came after c
}

TEST(StepHistory, knows_a_pattern_after_two_periods) {
  for (const char* const period : {"a", "ab", "eecc", "dddddg", "tttttttttttttte", "aabab"}) {
    EXPECT_EQ(surprises(period), 0) << period;
  }
  // Of one that is longer than what is compared, its end comes as a surprise, and once it is
  // expected too early.
  EXPECT_EQ(surprises(std::string(30, 't') + "e"), 3 * 2);
}

TEST(StepHistory, knows_what_follows_a_step_that_came_long_ago) {
  StepHistory history;
  history.add(step('x'));
  for (std::size_t i = 0; i < 3 * StepHistory::kMost; ++i) history.add(step('y'));
  history.add(step('x'));
  EXPECT_EQ(history.expected(), step('y'));
}

TEST(StepHistory, is_bounded) {
  StepHistory history;
  const auto kind = [](std::size_t i) { return StepId{i, 1, 1000}; };
  for (std::size_t i = 0; i < 3 * StepHistory::kMost; ++i) history.add(kind(i));
  history.add(kind(0));
  EXPECT_EQ(history.expected(), std::nullopt) << "so many kinds are not remembered";
}

}  // namespace
}  // namespace neap::autoplan
