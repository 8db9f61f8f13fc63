// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// An optimizer overwrites what recipes read, also through ancestors that died long ago. Without
// care for that, a GAN with two Adam optimizers silently got wrong parameters after a few steps.
#include "regression/evicting.h"

namespace neap::test {
namespace {

torch::nn::Sequential mlp(std::int64_t in, std::int64_t out) {
  torch::nn::Sequential model(torch::nn::Linear(in, 64), torch::nn::Tanh());
  for (int i = 0; i < 3; ++i) {
    model->push_back(torch::nn::Linear(64, 64));
    model->push_back(torch::nn::Tanh());
  }
  model->push_back(torch::nn::Linear(64, out));
  return model;
}

void add_state(std::vector<at::Tensor>& left, const torch::optim::Adam& adam) {
  for (const auto& group : adam.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      const auto& state = static_cast<const torch::optim::AdamParamState&>(
          *adam.state().at(parameter.unsafeGetTensorImpl()));
      left.insert(left.end(), {parameter, state.exp_avg(), state.exp_avg_sq()});
    }
  }
}

TEST(Overwriting, by_the_two_optimizers_of_a_gan_in_one_scope_leaves_the_same_parameters) {
  expect_same_bytes_under_budgets(
      [] {
        auto generator = mlp(16, 32);
        auto judge = mlp(32, 1);
        torch::optim::Adam of_generator(generator->parameters(), 1e-3);
        torch::optim::Adam of_judge(judge->parameters(), 1e-3);
        for (int step = 0; step < 3; ++step) {
          const at::Tensor real = torch::randn({256, 32});
          const at::Tensor fake = generator->forward(torch::randn({256, 16}));
          of_judge.zero_grad();
          (torch::softplus(-judge->forward(real)) + torch::softplus(judge->forward(fake.detach())))
              .mean()
              .backward();
          of_judge.step();
          of_generator.zero_grad();
          torch::softplus(-judge->forward(fake)).mean().backward();
          of_generator.step();
        }
        std::vector<at::Tensor> left;
        add_state(left, of_generator);
        add_state(left, of_judge);
        return left;
      },
      {75, 65});
}

// State is made by zeros_like, and updated in place from gradients that die.
TEST(Overwriting, of_optimizer_state_that_is_made_inside_the_scope_leaves_it_right) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor weight = torch::randn({64, 64}).mul_(0.1).requires_grad_();
        at::Tensor average;
        for (int step = 0; step < 4; ++step) {
          weight.mutable_grad() = at::Tensor();
          at::Tensor x = torch::ones({64, 64});
          for (int i = 0; i < 12; ++i) x = torch::tanh(x.mm(weight));
          x.pow(2).sum().backward();
          const torch::NoGradGuard no_grad;
          if (!average.defined()) average = torch::zeros_like(weight);
          average.mul_(0.9).add_(weight.grad(), 0.1);
          weight.sub_(average, 0.1);
        }
        return std::vector<at::Tensor>{weight, average};
      },
      {75, 60});
}

// The same with grad mode on, and state that belongs to no leaf. The update's values are dead
// afterwards.
TEST(Overwriting, of_a_running_average_of_dead_activations_leaves_it_right) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor average = torch::rand({64, 64}) * 0;
        at::Tensor x = torch::rand({64, 64});
        std::vector<at::Tensor> left;
        for (int i = 0; i < 24; ++i) {
          x = torch::tanh(x + 0.3);
          average.mul_(0.9).add_(x * 0.1);
          if (i % 3 == 0) left.push_back(torch::sigmoid(average + x));
        }
        at::Tensor sum = average;
        for (const at::Tensor& one : left) sum = sum + one;
        left.clear();
        return std::vector<at::Tensor>{average, x, sum};
      },
      {80});
}

// y depends on w only through a dead ancestor of a dead ancestor.
TEST(Overwriting, of_a_parameter_brings_back_what_depends_on_it_through_dead_ancestors) {
  at::Tensor w = torch::rand({32, 32});
  const at::Tensor expected = ((w * 2 + 1) * 3).clone();
  const Counts counts;
  at::Tensor y;
  at::Tensor unrelated;
  const at::Tensor other = torch::rand({32, 32});
  checkpoint([&] {
    y = (w * 2 + 1) * 3;
    unrelated = other * 2;
  });
  ASSERT_TRUE(evicted(y) && evicted(unrelated));
  {
    const torch::NoGradGuard no_grad;
    w.add_(1);
  }
  EXPECT_FALSE(evicted(y));
  EXPECT_TRUE(evicted(unrelated)) << "it has nothing to do with w";
  EXPECT_EQ(counts.replays(), 3);
  EXPECT_EQ(first_difference(bytes_of({expected, other * 2}), bytes_of({y, unrelated})),
            std::nullopt);
  EXPECT_EQ(counts.replays(), 4);
}

TEST(Overwriting, a_second_time_brings_nothing_back_again) {
  at::Tensor w = torch::rand({32, 32});
  const at::Tensor y = made_in_region([&] { return w * 2; });
  ASSERT_TRUE(evicted(y));
  w.add_(1);
  const Counts counts;
  w.add_(1);
  w.add_(1);
  EXPECT_EQ(counts.replays(), 0);
}

void foreach_step(std::vector<at::Tensor>& weights) {
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& weight : weights) gradients.push_back(weight.grad());
  const torch::NoGradGuard no_grad;
  at::_foreach_add_(weights, gradients, -0.05);
  at::_foreach_mul_(weights, 0.99);
}

// Operators on lists overwrite weights, while the activations of the next forward read them.
at::Tensor chain(const std::vector<at::Tensor>& weights) {
  at::Tensor x = torch::ones({64, 64});
  for (int i = 0; i < 12; ++i) x = torch::tanh(x.mm(weights[static_cast<std::size_t>(i) % 2]));
  return x;
}

std::vector<at::Tensor> two_weights() {
  std::vector<at::Tensor> weights;
  for (int i = 0; i < 2; ++i) {
    weights.push_back(torch::randn({64, 64}).mul_(0.1).requires_grad_());
  }
  return weights;
}

TEST(Overwriting, by_foreach_operators_leaves_the_same_parameters) {
  expect_same_bytes_under_budgets(
      [] {
        std::vector<at::Tensor> weights = two_weights();
        at::Tensor kept;
        for (int step = 0; step < 3; ++step) {
          for (at::Tensor& weight : weights) weight.mutable_grad() = at::Tensor();
          const at::Tensor y = chain(weights);
          kept = y.detach() * 2;  // outlives the update
          y.pow(2).sum().backward();
          foreach_step(weights);
        }
        return std::vector<at::Tensor>{weights[0], weights[1], kept};
      },
      {75, 60});
}

TEST(Overwriting, by_the_fused_adamw_operator_leaves_the_same_parameters) {
  expect_same_bytes_under_budgets(
      [] {
        std::vector<at::Tensor> weights = two_weights();
        std::vector<at::Tensor> first;
        std::vector<at::Tensor> second;
        std::vector<at::Tensor> steps;
        for (const at::Tensor& weight : weights) {
          first.push_back(torch::zeros_like(weight));
          second.push_back(torch::zeros_like(weight));
          steps.push_back(torch::zeros({}));
        }
        for (int step = 0; step < 3; ++step) {
          for (at::Tensor& weight : weights) weight.mutable_grad() = at::Tensor();
          chain(weights).pow(2).sum().backward();
          const torch::NoGradGuard no_grad;
          at::_foreach_add_(steps, 1);
          at::_fused_adamw_(weights, {weights[0].grad(), weights[1].grad()}, first, second, {},
                            steps, 1e-2, 0.9, 0.999, 0.01, 1e-8, false, false);
        }
        std::vector<at::Tensor> left = weights;
        left.insert(left.end(), first.begin(), first.end());
        left.insert(left.end(), second.begin(), second.end());
        return left;
      },
      {80, 70});
}

TEST(Overwriting, by_a_foreach_operator_on_evicted_tensors_writes_each_of_them) {
  const at::Tensor x = torch::rand({32, 32});
  const Counts counts;
  std::vector<at::Tensor> made;
  checkpoint([&] { made = {x * 2, x * 3}; });
  ASSERT_TRUE(evicted(made[0]) && evicted(made[1]));
  at::_foreach_add_(made, 1.0);
  EXPECT_EQ(first_difference(bytes_of({x * 2 + 1, x * 3 + 1}), bytes_of(made)), std::nullopt);
  EXPECT_EQ(counts.replays(), 2);
}

TEST(Overwriting, by_a_foreach_operator_inside_a_region_is_kept) {
  const at::Tensor x = torch::rand({32, 32});
  for (const std::size_t number : {std::size_t{1}, std::size_t{2}}) {
    SCOPED_TRACE(number);
    std::vector<at::Tensor> made;
    at::Tensor after;
    const Counts counts;
    checkpoint([&] {
      for (std::size_t i = 0; i < number; ++i) made.push_back(x * 2);
      at::_foreach_add_(made, 1.0);
      after = made[0] * 3;
    });
    EXPECT_GT(counts.evictions(), 0);
    EXPECT_EQ(first_difference(bytes_of({(x * 2 + 1) * 3, x * 2 + 1}), bytes_of({after, made[0]})),
              std::nullopt);
  }
}

TEST(Overwriting, results_of_a_foreach_operator_come_back) {
  const at::Tensor x = torch::rand({32, 32});
  const Counts counts;
  std::vector<at::Tensor> made;
  checkpoint([&] { made = at::_foreach_mul({x, x, x}, 2.0); });
  for (const at::Tensor& one : made) EXPECT_TRUE(evicted(one));
  EXPECT_EQ(first_difference(bytes_of({x * 2, x * 2, x * 2}), bytes_of(made)), std::nullopt);
  EXPECT_EQ(counts.replays(), 1) << "one operator makes all three";
}

}  // namespace
}  // namespace neap::test
