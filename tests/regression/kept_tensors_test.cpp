// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Some tensors outlive the scope in which they were made: a hidden state over steps, an activation
// for a plot, a view of something large. After the scope nothing brings them back. So they must be
// there when it ends, with their bytes.
#include "regression/evicting.h"

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 64;
constexpr std::int64_t kBytes = kSide * kSide * 4;

TEST(KeptTensors, of_a_scope_are_there_when_it_has_ended) {
  const at::Tensor x = torch::rand({kSide, kSide});
  std::vector<at::Tensor> kept;
  ByteLists expected;
  for (int i = 0; i < 3; ++i) expected.push_back(bytes_of({torch::tanh(x + i) * 2})[0]);
  Scope scope({.budget = room_for(6, kBytes), .policy = Online{}});
  for (int i = 0; i < 3; ++i) kept.push_back(torch::tanh(x + i) * 2);
  {
    std::vector<at::Tensor> many;
    for (int i = 0; i < 12; ++i) many.push_back(torch::sigmoid(x * i));
  }
  const auto gone = std::ranges::count_if(kept, evicted);
  ASSERT_GT(gone, 0);
  const Counts at_the_end;
  scope.end();
  EXPECT_EQ(at_the_end.replays(), 3 * gone) << "three for each";
  for (const at::Tensor& one : kept) EXPECT_FALSE(evicted(one));
  EXPECT_EQ(first_difference(expected, bytes_of(kept)), std::nullopt);
}

// A recurrent network whose state is carried from scope to scope.
TEST(KeptTensors, carry_a_hidden_state_through_scopes) {
  torch::manual_seed(8);
  const at::Tensor weight = torch::randn({kSide, kSide}).mul_(0.2).requires_grad_();
  const at::Tensor start = torch::rand({kSide, kSide});
  const auto run = [&](bool scopes) {
    weight.mutable_grad() = at::Tensor();
    at::Tensor hidden = start;
    std::int64_t replays = 0;
    for (int step = 0; step < 4; ++step) {
      std::optional<Scope> scope;
      if (scopes) scope.emplace(Options{.budget = room_for(9, kBytes)});
      at::Tensor y = hidden;
      for (int i = 0; i < 10; ++i) y = torch::tanh(y.mm(weight));
      hidden = y.detach();
      y.sum().backward();
      y.reset();
      if (scope) {
        scope->end();
        replays += scope->stats().replays;
      }
    }
    EXPECT_EQ(replays > 0, scopes);
    return bytes_of({hidden, weight.grad()});
  };
  EXPECT_EQ(first_difference(run(false), run(true)), std::nullopt);
}

// A graph is made in one scope, and its gradients are computed in the next one, or in none.
TEST(KeptTensors, of_a_graph_may_be_differentiated_in_a_later_scope_or_in_none) {
  const at::Tensor x = torch::rand({kSide, kSide}).requires_grad_();
  const auto forward = [&] {
    at::Tensor y = x;
    for (int i = 0; i < 6; ++i) y = torch::tanh(y * 1.1);
    return y.sum();
  };
  forward().backward();
  const ByteLists expected = bytes_of({x.grad()});
  for (const bool second_scope : {false, true}) {
    SCOPED_TRACE(second_scope);
    x.mutable_grad() = at::Tensor();
    at::Tensor loss;
    const Counts counts;
    {
      Scope scope;
      loss = checkpoint([&] { return forward(); });
      EXPECT_GT(counts.evictions(), 0);
      scope.end();
      EXPECT_GT(scope.stats().replays, 0);
    }
    std::optional<Scope> scope;
    if (second_scope) scope.emplace(Options{.budget = room_for(8, kBytes)});
    loss.backward();
    if (scope) scope->end();
    EXPECT_EQ(first_difference(expected, bytes_of({x.grad()})), std::nullopt);
  }
}

TEST(KeptTensors, of_a_region_without_a_scope_come_back_any_time_later) {
  const at::Tensor x = torch::rand({kSide, kSide});
  std::vector<at::Tensor> kept;
  const Counts counts;
  for (int i = 0; i < 4; ++i) kept.push_back(made_in_region([&] { return torch::tanh(x + i); }));
  for (const at::Tensor& one : kept) ASSERT_TRUE(evicted(one));
  {
    Scope scope;  // its end restores everything that is evicted
    torch::rand({4});
    scope.end();
  }
  for (int i = 3; i >= 0; --i) {
    EXPECT_EQ(first_difference(bytes_of({torch::tanh(x + i)}),
                               bytes_of({kept[static_cast<std::size_t>(i)]})),
              std::nullopt);
  }
  EXPECT_EQ(counts.replays(), 8);
  EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0);
}

TEST(SharedStorage, with_many_views_comes_back_once_for_all_of_them) {
  const at::Tensor x = torch::rand({kSide, kSide});
  std::vector<at::Tensor> views;
  const Counts counts;
  checkpoint([&] {
    const at::Tensor made = x * 2;
    for (std::int64_t i = 0; i < kSide; ++i) views.push_back(made.select(0, i));
    views.push_back(made.t());
    views.push_back(made.view({-1}));
    views.push_back(made.view(torch::kInt));
    views.push_back(made.as_strided({8, 8}, {130, 3}, 5));
    views.push_back(made.detach());
  });
  for (const at::Tensor& view : views) ASSERT_TRUE(evicted(view));
  const at::Tensor plain = x * 2;
  std::vector<at::Tensor> expected;
  for (std::int64_t i = 0; i < kSide; ++i) expected.push_back(plain.select(0, i));
  expected.insert(expected.end(), {plain.t(), plain.view({-1}), plain.view(torch::kInt),
                                   plain.as_strided({8, 8}, {130, 3}, 5), plain});
  EXPECT_EQ(first_difference(bytes_of(expected), bytes_of(views)), std::nullopt);
  EXPECT_EQ(counts.evictions(), 1);
  EXPECT_EQ(counts.replays(), 1);
}

TEST(SharedStorage, dies_with_its_last_view) {
  const at::Tensor x = torch::rand({kSide, kSide});
  const std::int64_t live = memory::usage().live;
  at::Tensor view;
  checkpoint([&] { view = (x * 2).narrow(0, 3, 2); });
  ASSERT_TRUE(evicted(view));
  EXPECT_GT(engine::Engine::instance().recorder_bytes(), 0);
  view.reset();
  torch::rand({2});  // the engine detaches at the next operator
  EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0);
  EXPECT_EQ(memory::usage().live, live);
}

TEST(ZeroSized, tensors_pass_through_regions_and_budgets) {
  const at::Tensor x = torch::rand({kSide, kSide});
  at::Tensor empty, joined, product, sum;
  const Counts counts;
  checkpoint([&] {
    empty = x.narrow(0, 0, 0).clone();
    joined = torch::cat({x.narrow(0, 0, 0) * 2, x});
    product = torch::mm(torch::empty({kSide, 0}), torch::empty({0, kSide})) + x;
    sum = empty.sum() + x;
    empty.add_(1).resize_({0, 3});
  });
  EXPECT_TRUE(evicted(joined) && evicted(product) && evicted(sum));
  EXPECT_EQ(empty.numel(), 0);
  EXPECT_EQ(first_difference(bytes_of({x, x, x}), bytes_of({joined, product, sum})), std::nullopt);
  EXPECT_GE(counts.replays(), 3);
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor y = torch::rand({kSide, kSide}).requires_grad_();
        at::Tensor z = y;
        for (int i = 0; i < 12; ++i) z = torch::tanh(torch::cat({z, z.narrow(1, 0, 0)}, 1) * 1.2);
        (z.sum() + z.narrow(0, 0, 0).sum()).backward();
        return std::vector<at::Tensor>{y.grad()};
      },
      {70, 55});
}

}  // namespace
}  // namespace neap::test
