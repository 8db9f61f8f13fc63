// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/time_sample.h"

#include "engine/operator_costs.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

namespace neap::test {
namespace {

using engine::OperatorCosts;
using engine::TimeSample;

// Models repeat the same operators. Without random draws, one in 16 would time the same operator of
// 16 each time.
TEST(TimeSample, counts_what_repeats_as_often_as_it_ran) {
  constexpr int kRounds = 20'000;
  for (const int period : {1, 2, 3, 5, 16, 48}) {
    TimeSample sample;
    std::array<std::int64_t, 48> counted{};
    for (int round = 0; round < kRounds; ++round) {
      for (int i = 0; i < period; ++i) {
        const std::int64_t ns = 100 * (i + 1);
        if (sample.draw()) counted.at(static_cast<std::size_t>(i)) += TimeSample::stands_for(ns);
      }
    }
    for (int i = 0; i < period; ++i) {
      const double ran = 100.0 * (i + 1) * kRounds;
      EXPECT_NEAR(static_cast<double>(counted.at(static_cast<std::size_t>(i))) / ran, 1, 0.15)
          << "operator " << i << " of " << period;
    }
  }
}

TEST(TimeSample, times_each_at_first_and_after_what_is_not_short) {
  TimeSample sample;
  EXPECT_TRUE(sample.times_each());
  sample.next(true);
  EXPECT_FALSE(sample.times_each());
  sample.next(false);
  EXPECT_TRUE(sample.times_each());
}

TEST(TimeSample, an_interruption_is_counted_once) {
  constexpr std::int64_t kInterrupted = 50'000'000;
  EXPECT_EQ(TimeSample::stands_for(kInterrupted), kInterrupted + 15 * TimeSample::kInterruptedNs);
  // An operator that is short at its best may usually take twice as long.
  EXPECT_EQ(TimeSample::stands_for(2 * TimeSample::kShortNs), 32 * TimeSample::kShortNs);
}

TEST(OperatorCosts, the_least_of_three_stays) {
  OperatorCosts costs;
  EXPECT_FALSE(costs.of(7).settled());
  EXPECT_EQ(costs.learn(7, 300), 300);
  EXPECT_EQ(costs.learn(7, 100), 100);
  EXPECT_FALSE(costs.of(7).settled());
  EXPECT_EQ(costs.learn(7, 200), 100);
  EXPECT_TRUE(costs.of(7).settled());
  EXPECT_EQ(costs.of(7).ns, 100);
  EXPECT_EQ(costs.of(8).measured, 0U);
}

TEST(OperatorCosts, shapes_without_end_take_no_memory_without_end) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 16;
  OperatorCosts costs;
  for (std::uint64_t signature = 0; signature < kMost; ++signature) costs.learn(signature, 1);
  EXPECT_EQ(costs.of(0).measured, 1U);
  costs.learn(kMost, 1);
  EXPECT_EQ(costs.of(0).measured, 0U) << "all of it was forgotten";
  EXPECT_EQ(costs.of(kMost).measured, 1U);
}

}  // namespace
}  // namespace neap::test
