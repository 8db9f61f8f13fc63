// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// plan_ahead() watches steps before a training, so that they have plans before they run.
#include "checkpoint/planned.h"

#include <torch/torch.h>

#include <optional>
#include <vector>

namespace neap::test {
namespace {

// No other test has a step that begins like this one. Plans outlive the test that made them.
Chain own_chain() {
  Chain chain(12);
  chain.x = chain.x.reshape({-1});
  return chain;
}

TEST(PlanAhead, each_kind_of_step_has_its_plan_before_it_runs) {
  install();
  const auto train = [](std::optional<Bytes> budget, std::vector<Stats>* stats) {
    torch::manual_seed(1);
    torch::nn::Sequential model(torch::nn::Linear(64, 64), torch::nn::ReLU(),
                                torch::nn::Linear(64, 64), torch::nn::ReLU(),
                                torch::nn::Linear(64, 8));
    torch::optim::AdamW optimizer(model->parameters());
    const at::Tensor x = torch::randn({256, 64});
    const auto step = [&] {
      optimizer.zero_grad();
      model->forward(x).square().mean().backward();
      optimizer.step();
    };
    for (int i = 0; i < 3; ++i) {
      if (stats == nullptr) {
        plan_ahead(step);
        continue;
      }
      memory::trim();
      Scope scope({.budget = budget});
      step();
      scope.end();
      stats->push_back(scope.stats());
    }
    return bytes_of(model->parameters());
  };
  memory::trim();
  memory::reset_peak();
  const ByteLists plain = train(std::nullopt, nullptr);
  const Bytes peak(memory::usage().peak_reserved);
  std::vector<Stats> stats;
  const ByteLists found = train(peak, &stats);
  EXPECT_EQ(first_difference(plain, found), std::nullopt);
  for (const Stats& one : stats) EXPECT_EQ(one.plan_hits, 1) << one.plan_note;
}

TEST(PlanAhead, another_step_goes_on_line) {
  Chain chain = own_chain();
  plan_ahead(chain);
  chain.deviates_at = 5;
  const Stats stats = run(chain, budget_of(40));
  EXPECT_EQ(stats.plan_hits, 0);
  EXPECT_EQ(stats.plan_misses, 1);
  EXPECT_EQ(run(chain, budget_of(40)).plan_hits, 1) << "it was traced meanwhile";
}

TEST(PlanAhead, what_was_made_since_is_counted) {
  Chain chain = own_chain();
  chain();
  const ByteLists expected = chain.bits;
  plan_ahead(chain);
  const std::vector<at::Tensor> more{square(2), square(3), square(4)};
  const Stats stats = run(chain, budget_of(8));
  EXPECT_EQ(stats.plan_hits, 1) << stats.plan_note;
  EXPECT_GT(stats.replays, 0);
  EXPECT_EQ(stats.unplanned_bytes, 0);
  EXPECT_EQ(first_difference(expected, chain.bits), std::nullopt);
}

TEST(PlanAhead, says_no_in_a_scope) {
  Chain chain(3);
  Scope scope({.observe = true});
  EXPECT_THROW(plan_ahead(chain), ScopeConflict);
  scope.end();
}

}  // namespace
}  // namespace neap::test
