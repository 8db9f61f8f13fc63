// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A budget in which plain LibTorch fits always works, from the first step on. What neap holds for
// later replays never makes a step larger than plain LibTorch's. See Note [What is held].
#include "memory/allocator.h"
#include "support/families.h"
#include "support/training_runs.h"

#include <neap/neap.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace neap::test {
namespace {

constexpr int kSteps = 3;

// What plain LibTorch reserves at its peak in a run of a family, with the allocator's rounding.
std::int64_t plain_peak(const Family& family, std::uint64_t seed) {
  memory::trim();
  torch::manual_seed(seed);
  const Job job = family.make();
  std::int64_t peak = 0;
  for (int step = 0; step < kSteps; ++step) {
    memory::trim();
    memory::reset_peak();
    job.step();
    peak = std::max(peak, memory::usage().peak_reserved);
  }
  return peak;
}

class PlainPeak : public testing::TestWithParam<Family> {};

TEST_P(PlainPeak, as_a_budget_fits_every_step_with_the_same_bits) {
  const Family& family = GetParam();
  for (const std::uint64_t seed : {1, 2}) {
    const TrainingRun plain = run_plain(family, kSteps, seed);
    const std::int64_t budget = plain_peak(family, seed);
    for (const PlanMode& policy : {PlanMode(Online{}), PlanMode(Planned{})}) {
      const TrainingRun run = run_in_scope(family, kSteps, seed, budget, policy);
      EXPECT_LE(run.peak, budget);
      for (std::size_t step = 0; step < plain.states.size(); ++step) {
        ASSERT_EQ(plain.states[step].first_difference(run.states[step]), "") << "in step " << step;
      }
    }
  }
}

std::string name_of(const testing::TestParamInfo<Family>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Families, PlainPeak, testing::ValuesIn(families()), name_of);
INSTANTIATE_TEST_SUITE_P(Schemes, PlainPeak, testing::ValuesIn(schemes()), name_of);

}  // namespace
}  // namespace neap::test
