// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A materialization held everything that its operators would read and that was resident, from its
// beginning on, even for the last operators. So a ResNet was refused at 12 % of its memory, though
// 8 % are enough.
#include "regression/evicting.h"

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 512;
constexpr std::int64_t kBytes = kSide * kSide * 4;
constexpr std::int64_t kFactors = 8;

struct Made {
  std::vector<at::Tensor> factors;
  at::Tensor product;  // multiplies the factors in turn, so each operator reads one of them
};

Made make(const at::Tensor& batch) {
  Made made{{}, batch};
  for (int i = 0; i < kFactors; ++i) {
    made.factors.push_back(batch + i);
    checkpoint([&] { made.product = made.product * made.factors.back(); });
  }
  return made;
}

TEST(TightBudget, lets_go_of_what_is_at_hand_and_makes_it_again_when_its_turn_comes) {
  const at::Tensor batch = torch::rand({kSide, kSide});
  const ByteLists expected = bytes_of({make(batch).product});

  const Bytes budget = room_for(2 * kFactors, kBytes);
  Scope scope({.budget = budget, .policy = Online{}});
  const Made made = make(batch);
  at::Tensor other = pin(torch::zeros({kFactors, kSide, kSide}));  // now nothing more fits
  for (const at::Tensor& factor : made.factors) ASSERT_FALSE(evicted(factor));
  ASSERT_TRUE(evicted(made.product));
  const Counts counts;
  EXPECT_EQ(first_difference(expected, bytes_of({made.product + 0})), std::nullopt);
  EXPECT_EQ(counts.replays(), 2 * kFactors) << "each factor and each product";
  EXPECT_GE(counts.evictions(), kFactors);
  engine::Engine::instance().validate();
  other = at::Tensor();  // a scope ends with what the program holds restored
  scope.end();
  EXPECT_LE(scope.stats().peak_bytes, budget.count());
}

// A refusal leaves each storage as it was, or evicted and able to come back.
TEST(TightBudget, that_is_too_small_all_the_same_is_refused_and_loses_nothing) {
  const at::Tensor batch = torch::rand({kSide, kSide});
  const Made before = make(batch);
  const ByteLists factors = bytes_of(before.factors);
  const ByteLists product = bytes_of({before.product});

  Scope scope({.budget = room_for(2 * kFactors + 2, kBytes), .policy = Online{}});
  const Made made = make(batch);
  at::Tensor other = pin(torch::zeros({2 * kFactors, kSide, kSide}));
  EXPECT_THROW(made.product + 0, BudgetExceeded);
  engine::Engine::instance().validate();
  other = at::Tensor();
  EXPECT_EQ(first_difference(product, bytes_of({made.product + 0})), std::nullopt);
  EXPECT_EQ(first_difference(factors, bytes_of(made.factors)), std::nullopt);
}

}  // namespace
}  // namespace neap::test
