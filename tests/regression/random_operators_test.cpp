// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// If random operators were replayed with other numbers, the backward would belong to another
// dropout mask. If they were replayed with the live generator, every random number that the program
// draws afterwards would change too.
#include "regression/evicting.h"

#include <ATen/CPUGeneratorImpl.h>

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 32;

at::Tensor generator_state() { return at::detail::getDefaultCPUGenerator().get_state(); }

at::Generator own_generator() {
  return at::make_generator<at::CPUGeneratorImpl>(std::uint64_t{77});
}

// Evicts what `draw` returns, draws other numbers, and brings it back. The numbers must be the
// same, and the live generator must be untouched.
void expect_drawn_again(const char* name, const std::function<at::Tensor()>& draw) {
  SCOPED_TRACE(name);
  torch::manual_seed(3);
  const at::Tensor plain = draw();
  const ByteLists expected = bytes_of({plain});
  torch::manual_seed(3);
  const Counts counts;
  const at::Tensor made = made_in_region(draw);
  EXPECT_TRUE(evicted(made)) << "nothing was evicted, so nothing was tested";
  torch::rand({7});
  torch::randn({5});  // leaves half of a pair in the generator
  const ByteLists before = bytes_of({generator_state()});
  EXPECT_EQ(first_difference(expected, bytes_of({made})), std::nullopt);
  EXPECT_GT(counts.replays(), 0);
  EXPECT_EQ(first_difference(before, bytes_of({generator_state()})), std::nullopt)
      << "the live generator has moved";
}

TEST(RandomOperators, come_back_with_the_numbers_that_they_drew) {
  torch::manual_seed(4);
  const at::Tensor x = torch::rand({kSide, kSide});
  expect_drawn_again("dropout", [&] { return torch::dropout(x, 0.3, true); });
  expect_drawn_again("feature_dropout", [&] { return torch::feature_dropout(x, 0.3, true); });
  expect_drawn_again("alpha_dropout", [&] { return torch::alpha_dropout(x, 0.3, true); });
  expect_drawn_again("native_dropout",
                     [&] { return std::get<0>(torch::native_dropout(x, 0.3, true)); });
  expect_drawn_again("rand_like", [&] { return torch::rand_like(x); });
  expect_drawn_again("randn_like", [&] { return torch::randn_like(x); });
  expect_drawn_again("randint_like", [&] { return torch::randint_like(x, 100); });
  expect_drawn_again("bernoulli", [&] { return torch::bernoulli(x); });
  expect_drawn_again("bernoulli with p", [&] { return torch::bernoulli(x, 0.25); });
  expect_drawn_again("multinomial", [&] { return torch::multinomial(x, 16, true); });
  expect_drawn_again("multinomial without replacement",
                     [&] { return torch::multinomial(x, 16, false); });
  expect_drawn_again("normal of tensors", [&] { return at::normal(x, x + 0.1); });
  expect_drawn_again("poisson", [&] { return torch::poisson(x * 5); });
  expect_drawn_again("binomial", [&] { return torch::binomial(x * 0 + 20, x); });
}

TEST(RandomOperators, that_write_in_place_come_back_with_the_numbers_that_they_drew) {
  torch::manual_seed(4);
  const at::Tensor x = torch::rand({kSide, kSide});
  expect_drawn_again("normal_", [&] { return (x * 1).normal_(); });
  expect_drawn_again("uniform_", [&] { return (x * 1).uniform_(); });
  expect_drawn_again("bernoulli_", [&] { return (x * 1).bernoulli_(0.4); });
  expect_drawn_again("bernoulli_ of a tensor", [&] { return (x * 1).bernoulli_(x); });
  expect_drawn_again("exponential_", [&] { return (x * 1).exponential_(); });
  expect_drawn_again("geometric_", [&] { return (x * 1).geometric_(0.3); });
  expect_drawn_again("cauchy_", [&] { return (x * 1).cauchy_(); });
  expect_drawn_again("log_normal_", [&] { return (x * 1).log_normal_(); });
  expect_drawn_again("random_", [&] { return (x * 1).random_(0, 50); });
  expect_drawn_again("normal_ of a part", [&] {
    at::Tensor made = x * 1;
    made.narrow(0, 3, 9).normal_();
    return made;
  });
}

TEST(RandomOperators, with_a_generator_of_their_own_come_back_and_leave_it_where_it_was) {
  torch::manual_seed(4);
  const at::Tensor x = torch::rand({kSide, kSide});
  const std::vector<std::function<at::Tensor(at::Generator)>> draws{
      [&](at::Generator g) { return torch::bernoulli(x, g); },
      [&](at::Generator g) { return torch::multinomial(x, 16, true, g); },
      [&](at::Generator g) { return (x * 1).normal_(0, 1, g); },
      [&](at::Generator g) { return torch::poisson(x * 5, g); },
      [&](at::Generator g) { return at::normal(x, x + 0.1, g); },
  };
  for (std::size_t i = 0; i < draws.size(); ++i) {
    SCOPED_TRACE(i);
    at::Generator plain = own_generator();
    const ByteLists expected = bytes_of({draws[i](plain)});
    at::Generator generator = own_generator();
    const Counts counts;
    const at::Tensor made = made_in_region([&] { return draws[i](generator); });
    ASSERT_TRUE(evicted(made));
    torch::bernoulli(x, generator);
    const ByteLists mine = bytes_of({generator.get_state()});
    const ByteLists live = bytes_of({generator_state()});
    EXPECT_EQ(first_difference(expected, bytes_of({made})), std::nullopt);
    EXPECT_GT(counts.replays(), 0);
    EXPECT_EQ(first_difference(mine, bytes_of({generator.get_state()})), std::nullopt);
    EXPECT_EQ(first_difference(live, bytes_of({generator_state()})), std::nullopt);
  }
}

TEST(RandomOperators, come_back_though_their_generator_is_dead) {
  const at::Tensor x = torch::rand({kSide, kSide});
  at::Tensor expected;
  at::Tensor made;
  {
    at::Generator generator = own_generator();
    expected = torch::bernoulli(x, generator);
  }
  {
    at::Generator generator = own_generator();
    made = made_in_region([&] { return torch::bernoulli(x, generator); });
  }
  ASSERT_TRUE(evicted(made));
  EXPECT_EQ(first_difference(bytes_of({expected}), bytes_of({made})), std::nullopt);
}

TEST(RandomOperators, come_back_after_the_program_has_seeded_anew) {
  const at::Tensor x = torch::rand({kSide, kSide});
  expect_same_bytes_when_back([&] { return torch::rand_like(x) + torch::randn_like(x); },
                              [] { torch::manual_seed(12345); });
}

// Everything that dropout makes inside a region is evicted, including its mask: that is what
// regions are for.
TEST(RandomOperators, of_a_dropout_in_a_region_leave_no_mask_in_memory) {
  const at::Tensor x = torch::rand({kSide, kSide}).requires_grad_();
  memory::trim();
  const std::int64_t live = memory::usage().live;
  const at::Tensor y =
      checkpoint([](const at::Tensor& in) { return torch::dropout(in, 0.3, true); }, x);
  EXPECT_EQ(memory::usage().live, live + memory::footprint(kSide * kSide * 4)) << "its result";
}

TEST(RandomOperators, of_a_network_with_dropout_draw_the_same_under_budgets) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor weight = torch::randn({64, 64}).mul_(0.1).requires_grad_();
        at::Tensor x = torch::rand({64, 64});
        for (int i = 0; i < 10; ++i) {
          x = torch::dropout(torch::tanh(x.mm(weight)), 0.2, true);
          x = x + torch::randn_like(x) * 0.01;
        }
        x.pow(2).sum().backward();
        return std::vector<at::Tensor>{weight.grad(), generator_state()};
      },
      {70, 50});
}

}  // namespace
}  // namespace neap::test
