// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "device/generator_state.h"

#include "device/device.h"

#include <neap/memory.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <vector>

namespace neap::device {
namespace {

// Below 16 numbers, normal() draws them in pairs and keeps the second of a pair for later.
std::vector<double> draw(const at::Generator& generator) {
  std::vector<double> drawn;
  for (const auto type : {torch::kDouble, torch::kFloat}) {
    const at::Tensor normal = at::empty({3}, type).normal_(0, 1, generator);
    const at::Tensor uniform = at::empty({2}, type).uniform_(0, 1, generator);
    for (const at::Tensor& all : {normal, uniform}) {
      for (std::int64_t i = 0; i < all.numel(); ++i) drawn.push_back(all[i].item<double>());
    }
  }
  return drawn;
}

TEST(GeneratorState, brings_the_same_numbers_again_and_the_one_that_was_kept_for_later) {
  const at::Generator generator = at::detail::createCPUGenerator(5);
  draw(generator);  // an odd number of normal numbers
  const auto state = cpu().save(generator);
  const std::vector<double> first = draw(generator);
  EXPECT_NE(draw(generator), first);
  state->restore();
  EXPECT_EQ(draw(generator), first);
}

TEST(GeneratorState, is_current_until_something_is_drawn_and_again_when_it_was_restored) {
  const at::Generator generator = at::detail::createCPUGenerator(5);
  const auto state = cpu().save(generator);
  EXPECT_TRUE(state->is_current());
  at::empty({1}).uniform_(0, 1, generator);
  EXPECT_FALSE(state->is_current());
  state->restore();
  EXPECT_TRUE(state->is_current());
  // Now the kept number differs and the engine does not, because both numbers were drawn together.
  at::empty({1}, torch::kDouble).normal_(0, 1, generator);
  const auto with_kept = cpu().save(generator);
  at::empty({1}, torch::kDouble).normal_(0, 1, generator);
  EXPECT_FALSE(with_kept->is_current());
}

TEST(GeneratorState, the_guard_puts_it_in_and_back_what_was_there) {
  const at::Generator generator = at::detail::createCPUGenerator(5);
  const auto early = cpu().save(generator);
  const std::vector<double> expected = draw(generator);
  const auto late = cpu().save(generator);
  {
    const GeneratorStateGuard guard(early.get());
    EXPECT_EQ(draw(generator), expected);
  }
  EXPECT_TRUE(late->is_current());
  { const GeneratorStateGuard nothing(nullptr); }
  EXPECT_TRUE(late->is_current());
}

// Generator::get_state() would take 5,056 bytes each time, which count against the budget.
TEST(GeneratorState, takes_none_of_libtorchs_memory) {
  const at::Generator generator = at::detail::createCPUGenerator(5);
  const std::int64_t allocations = memory::usage().allocations;
  const auto state = cpu().save(generator);
  EXPECT_TRUE(state->is_current());
  state->restore();
  EXPECT_EQ(memory::usage().allocations, allocations);
  (void)generator.get_state();
  EXPECT_GT(memory::usage().allocations, allocations);
}

TEST(GeneratorState, of_no_generator_is_not_supported) {
  EXPECT_FALSE(cpu().can_save(at::Generator()));
  EXPECT_TRUE(cpu().can_save(at::detail::getDefaultCPUGenerator()));
}

}  // namespace
}  // namespace neap::device
