// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Noise that each layer draws and lets go of at once was held until the end of the step, for
// recipes of what had been made from it. So even a budget of 150 % of what plain LibTorch needs was
// refused. The noise depends only on its operator's arguments and the generator's state. So it has
// a recipe, as long as the program has not written into it by hand.
#include "regression/evicting.h"

#include <functional>
#include <string>
#include <vector>

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 32;

struct Factory {
  std::string name;
  std::function<at::Tensor()> make;
};

const std::vector<Factory>& factories() {
  static const at::Tensor like = torch::ones({kSide, kSide});
  static const std::vector<Factory> all{
      {"randn",
       [] {
         return torch::randn({kSide, kSide});
       }},
      {"rand",
       [] {
         return torch::rand({kSide, kSide});
       }},
      {"randint",
       [] {
         return torch::randint(7, {kSide, kSide}, torch::kFloat);
       }},
      {"randperm",
       [] {
         return torch::randperm(kSide * kSide, torch::kFloat).view({kSide, kSide});
       }},
      {"normal",
       [] {
         return at::normal(0.0, 0.1, {kSide, kSide});
       }},
      {"randn_like", [] { return torch::randn_like(like); }},
      {"rand_like", [] { return torch::rand_like(like); }},
      {"full",
       [] {
         return torch::full({kSide, kSide}, 0.3);
       }},
      {"ones",
       [] {
         return torch::ones({kSide, kSide});
       }},
      {"full_like", [] { return torch::full_like(like, 0.3); }},
      {"ones_like", [] { return torch::ones_like(like); }},
      {"arange",
       [] {
         return torch::arange(kSide * kSide, torch::kFloat).view({kSide, kSide});
       }},
      {"linspace",
       [] {
         return torch::linspace(0, 1, kSide * kSide).view({kSide, kSide});
       }},
      {"eye", [] { return torch::eye(kSide); }},
      {"empty and fill_",
       [] {
         return torch::empty({kSide, kSide}).fill_(0.3);
       }},
      {"empty and zero_",
       [] {
         return torch::empty({kSide, kSide}).zero_();
       }},
      {"empty and uniform_",
       [] {
         return torch::empty({kSide, kSide}).uniform_();
       }},
      {"empty_like and normal_", [] { return torch::empty_like(like).normal_(); }},
      {"empty_like and bernoulli_", [] { return torch::empty_like(like).bernoulli_(0.4); }},
  };
  return all;
}

class FactoryIn : public testing::TestWithParam<Factory> {};

TEST_P(FactoryIn, a_region_is_made_again_with_the_bytes_that_it_had) {
  EXPECT_EQ(expect_same_bytes_when_back(GetParam().make, [] { torch::randn({100}); }), 1);
}

TEST_P(FactoryIn, a_region_stays_when_it_was_written_by_hand) {
  torch::manual_seed(3);
  at::Tensor made;
  at::Tensor product;
  const Counts counts;
  checkpoint([&] {
    made = GetParam().make();
    made.mutable_data_ptr<float>()[17] = 5000;
    product = made * 3;
  });
  EXPECT_FALSE(evicted(made));
  ASSERT_TRUE(evicted(product));
  EXPECT_EQ(product.view({-1})[17].item<float>(), 15000);
  EXPECT_EQ(counts.replays(), 1) << "the product";
}

// Its readers see what was written by hand, even after it is dead or an operator has written over
// it.
TEST_P(FactoryIn, a_region_is_held_for_its_readers_when_it_was_written_by_hand_and_died) {
  torch::manual_seed(3);
  at::Tensor product, sum;
  checkpoint([&] {
    at::Tensor made = GetParam().make();
    made.mutable_data_ptr<float>()[17] = 5;
    product = made * 3;
    at::Tensor other = GetParam().make();
    other.mutable_data_ptr<float>()[18] = 7;
    sum = other + 1;
    other.mul_(0);
  });
  EXPECT_EQ(product.view({-1})[17].item<float>(), 15);
  EXPECT_EQ(sum.view({-1})[18].item<float>(), 8);
}

TEST_P(FactoryIn, a_scope_is_not_held_when_it_is_let_go_of) {
  torch::manual_seed(3);
  const at::Tensor x = torch::randn({kSide, kSide});
  memory::trim();
  Scope scope({.budget = Bytes(memory::usage().live + (1 << 20)), .policy = Online{}});
  const at::Tensor y = x * x;
  const std::int64_t live = memory::usage().live;
  const at::Tensor z = y * GetParam().make();
  EXPECT_EQ(memory::usage().live - live, memory::footprint(kSide * kSide * 4)) << "the product";
  scope.end();
}

std::string name_of(const testing::TestParamInfo<Factory>& info) {
  std::string name = info.param.name;
  for (char& c : name) {
    if (c == ' ') c = '_';
  }
  return name;
}
INSTANTIATE_TEST_SUITE_P(Factories, FactoryIn, testing::ValuesIn(factories()), name_of);

}  // namespace
}  // namespace neap::test
