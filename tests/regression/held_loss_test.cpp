// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// at::mse_loss leaves its result in a storage of the size of its input. A program holds the loss
// while its optimizer overwrites the parameters, from which only the whole forward could make it
// again. A plan freed it after its last use: the engine brought it back before the first overwrite,
// with all operators of the forward.
#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>

namespace neap::test {
namespace {

constexpr int kLayers = 8;
constexpr std::int64_t kSide = 256;

struct Training {
  Training() {
    torch::manual_seed(1);
    for (int i = 0; i < kLayers; ++i) {
      model->push_back(torch::nn::Linear(kSide, kSide));
      model->push_back(torch::nn::GELU());
    }
  }
  void step() {
    torch::optim::SGD optimizer(model->parameters(), 0.01);
    optimizer.zero_grad();
    const at::Tensor loss = torch::mse_loss(model->forward(x), y);
    loss.backward();
    optimizer.step();
    EXPECT_GT(loss.storage().nbytes(), std::size_t{kSide * kSide}) << "nothing is tested";
    optimizer.zero_grad();
  }
  torch::nn::Sequential model;
  at::Tensor x = torch::randn({kSide, kSide}), y = torch::randn({kSide, kSide});
};

TEST(HeldLoss, is_not_made_again_for_an_optimizer_that_overwrites_the_parameters) {
  install();
  Training training;
  training.step();
  memory::trim();
  const std::int64_t base = memory::usage().live;
  memory::reset_peak();
  training.step();
  const Bytes budget(base + (memory::usage().peak - base) * 85 / 100);
  for (int step = 0; step < 3; ++step) {
    Scope scope({.budget = budget});
    training.step();
    scope.end();
    finish_planning();
    EXPECT_GT(scope.stats().evictions, 0) << "the budget was not tight";
    EXPECT_LT(scope.stats().replays, kLayers) << "in step " << step;
    EXPECT_EQ(scope.stats().plan_hits, step == 0 ? 0 : 1);
  }
}

}  // namespace
}  // namespace neap::test
