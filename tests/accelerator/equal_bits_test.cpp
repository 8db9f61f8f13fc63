// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The promises on a device that is not the CPU: equal bits, and no byte over the budget. They also
// show that nothing above src/device/ depends on the kind of device. Host accesses to the device's
// memory would fault, its kernels write late, and LibTorch runs its part of a backward in another
// thread unless told otherwise.
#include "accelerator/accelerator.h"
#include "memory/allocator.h"
#include "support/families.h"
#include "support/training_runs.h"

#include <neap/neap.h>

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace neap::test {
namespace {

constexpr int kSteps = 4;
constexpr std::uint64_t kSeed = 7;

// Runs before main(), which calls neap::install().
const bool is_tracked = [] {
  device::track(accelerator_for_neap());
  return true;
}();

TEST(Accelerator, has_memory_that_the_host_cannot_read) {
  ASSERT_TRUE(is_tracked);
  const at::Tensor x = torch::ones({1000}).to(accelerator());
  EXPECT_EQ(x.sum().item<float>(), 1000);
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH((void)*static_cast<const volatile float*>(x.const_data_ptr()), "");
}

TEST(Accelerator, writes_late_and_draws_by_seed_and_offset) {
  const std::int64_t late = accelerator_late_writes();
  seed_accelerator(3);
  const at::Tensor x = torch::zeros({100}).to(accelerator());
  const at::Tensor first = torch::dropout(x + 1, 0.5, true),
                   second = torch::dropout(x + 1, 0.5, true);
  EXPECT_GT(accelerator_late_writes(), late);
  EXPECT_FALSE(torch::equal(first.cpu(), second.cpu()));
  seed_accelerator(3);
  EXPECT_TRUE(torch::equal(first.cpu(), torch::dropout(x + 1, 0.5, true).cpu()));
}

TEST(Accelerator, aligns_its_blocks_to_512_bytes) {
  for (const std::int64_t count : {1, 3, 100, 130, 1000, 100'000}) {
    const at::Tensor x = torch::zeros({count}).to(accelerator());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 512, 0) << count;
  }
}

class OnAccelerator : public testing::TestWithParam<Family> {
 public:
  OnAccelerator() { place() = accelerator().type(); }
  ~OnAccelerator() override { place() = c10::DeviceType::CPU; }
  OnAccelerator(const OnAccelerator&) = delete;
  OnAccelerator& operator=(const OnAccelerator&) = delete;

 private:
  MakesTensors makes_tensors_;
};

TEST_P(OnAccelerator, bits_are_those_of_plain_libtorch_and_no_byte_is_over_the_budget) {
  const Family& family = GetParam();
  seed_accelerator(kSeed);
  const TrainingRun plain = run_plain(family, kSteps, kSeed);
  const auto generator = accelerator_generator_state();
  std::int64_t replays = 0;
  for (const double percent : {100.0, 70.0, 50.0}) {
    for (const PlanMode& mode : {PlanMode(Online{}), PlanMode(Planned{})}) {
      const std::int64_t budget = budget_at(plain, percent);
      SCOPED_TRACE(std::to_string(percent) + (mode.online() ? " online" : " planned"));
      memory::trim();
      seed_accelerator(kSeed);
      TrainingRun run;
      (void)accelerator_most_bytes();
      try {
        run = run_in_scope(family, kSteps, kSeed, budget, mode);
      } catch (const BudgetExceeded&) {
        EXPECT_LT(percent, 100) << "what plain LibTorch fits in always works";
        continue;
      }
      EXPECT_LE(run.peak, budget);
      EXPECT_LE(accelerator_most_bytes(), budget);
      for (std::size_t step = 0; step < plain.states.size(); ++step) {
        ASSERT_EQ(plain.states[step].first_difference(run.states[step]), "") << "step " << step;
      }
      EXPECT_EQ(accelerator_generator_state(), generator);
      replays += run.replays;
    }
  }
  EXPECT_GT(replays, 0);
}

std::string name_of(const testing::TestParamInfo<Family>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Families, OnAccelerator, testing::ValuesIn(families()), name_of);

}  // namespace
}  // namespace neap::test
