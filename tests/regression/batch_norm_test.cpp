// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// BatchNorm's forward writes running statistics. If a replay wrote them again, losses and gradients
// would still be right, and only evaluation would be wrong. No loss curve shows that, but memcmp
// does.
#include "regression/evicting.h"

namespace neap::test {
namespace {

at::Tensor image() { return torch::randn({4, 8, 12, 12}); }

TEST(BatchNorm, statistics_are_written_once_when_the_forward_of_a_region_is_replayed) {
  torch::manual_seed(1);
  const at::Tensor x = image().requires_grad_();
  torch::nn::BatchNorm2d plain(8);
  torch::nn::BatchNorm2d norm(8);
  const auto run = [&](torch::nn::BatchNorm2d& layer, bool region) {
    const auto inside = [&](const at::Tensor& in) { return torch::tanh(layer->forward(in * 2)); };
    for (int step = 0; step < 3; ++step) {
      const at::Tensor y = region ? checkpoint(inside, x) : inside(x);
      y.pow(2).sum().backward();
    }
    return bytes_of({layer->running_mean, layer->running_var, layer->num_batches_tracked,
                     layer->weight.grad(), layer->bias.grad()});
  };
  const ByteLists expected = run(plain, false);
  const Counts counts;
  EXPECT_EQ(first_difference(expected, run(norm, true)), std::nullopt);
  EXPECT_GT(counts.replays(), 0);
  EXPECT_EQ(norm->num_batches_tracked.item<std::int64_t>(), 3);
}

TEST(BatchNorm, that_is_replayed_twice_writes_its_statistics_once) {
  const at::Tensor x = image();
  const at::Tensor weight = torch::rand({8});
  const at::Tensor bias = torch::rand({8});
  const auto normalized = [&](const at::Tensor& mean, const at::Tensor& var) {
    return torch::batch_norm(x, weight, bias, mean, var, true, 0.1, 1e-5, false);
  };
  const at::Tensor mean = torch::zeros({8});
  const at::Tensor var = torch::ones({8});
  const at::Tensor expected = normalized(mean, var);
  at::Tensor my_mean = torch::zeros({8});
  at::Tensor my_var = torch::ones({8});
  const Counts counts;
  at::Tensor made;
  at::Tensor after;
  checkpoint([&] {
    made = normalized(my_mean, my_var);
    after = made + 1;
  });
  ASSERT_TRUE(evicted(made) && evicted(after));
  EXPECT_EQ(first_difference(bytes_of({expected + 1, expected}), bytes_of({after, made})),
            std::nullopt);
  EXPECT_EQ(counts.replays(), 2) << "the norm once, though two ask for it";
  EXPECT_EQ(first_difference(bytes_of({mean, var}), bytes_of({my_mean, my_var})), std::nullopt);
}

// A layer that is built inside the scope: its statistics have a recipe, which their update makes
// stale.
TEST(BatchNorm, whose_statistics_were_made_in_the_region_has_them_updated_once) {
  const at::Tensor x = image();
  const at::Tensor start = torch::rand({200});
  const auto update = [&](at::Tensor& mean, at::Tensor& var) {
    mean = start * 2;
    var = start + 1;
    const at::Tensor wide = x.reshape({-1, 1, 12, 12}).repeat({1, 200, 1, 1});
    return torch::batch_norm(wide, {}, {}, mean, var, true, 0.1, 1e-5, false);
  };
  at::Tensor mean, var;
  const at::Tensor expected = update(mean, var);
  at::Tensor my_mean, my_var;
  at::Tensor made;
  checkpoint([&] { made = update(my_mean, my_var); });
  ASSERT_TRUE(evicted(made));
  EXPECT_EQ(first_difference(bytes_of({mean, var, expected}), bytes_of({my_mean, my_var, made})),
            std::nullopt);
}

// Evaluation mode reads the statistics. What was made from them must not see those of a later
// training step.
TEST(BatchNorm, in_evaluation_comes_back_with_the_statistics_that_it_had_read) {
  const at::Tensor x = image();
  const Counts counts;
  torch::nn::BatchNorm2d norm(8);
  norm->forward(x * 3);  // makes some statistics
  norm->eval();
  const torch::NoGradGuard no_grad;
  const at::Tensor expected = norm->forward(x);
  at::Tensor made = made_in_region([&] { return norm->forward(x); });
  ASSERT_TRUE(evicted(made));
  norm->train();
  norm->forward(x * 5 + 2);
  EXPECT_EQ(first_difference(bytes_of({expected}), bytes_of({made})), std::nullopt);
  EXPECT_GE(counts.replays(), 1);
}

TEST(BatchNorm, of_several_layers_and_steps_leaves_the_same_buffers_under_budgets) {
  expect_same_bytes_under_budgets(
      [] {
        torch::nn::Sequential model;
        for (int i = 0; i < 6; ++i) {
          model->push_back(
              torch::nn::Conv2d(torch::nn::Conv2dOptions(8, 8, 3).padding(1).bias(false)));
          model->push_back(torch::nn::BatchNorm2d(8));
          model->push_back(torch::nn::ReLU());
        }
        torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.1));
        for (int step = 0; step < 2; ++step) {
          optimizer.zero_grad();
          model->forward(image()).pow(2).mean().backward();
          optimizer.step();
        }
        std::vector<at::Tensor> left = model->parameters();
        for (const at::Tensor& buffer : model->buffers()) left.push_back(buffer);
        return left;
      },
      {70, 50});
}

}  // namespace
}  // namespace neap::test
