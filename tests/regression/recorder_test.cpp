// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Memory could grow step by step until the machine swaps, in two ways: through records of dead
// blocks that hold each other, and through bytes that are kept for readers that are gone. x += f(x)
// in an open scope built a cycle of dead records.
#include "regression/evicting.h"

namespace neap::test {
namespace {

engine::Engine& the_engine() { return engine::Engine::instance(); }

// The write into x reads f(x), which read x. That is a cycle.
void expect_recorder_does_not_grow(const std::function<void(at::Tensor&)>& change) {
  memory::trim();
  at::Tensor x = torch::rand({32, 32});
  const std::int64_t live = memory::usage().live;
  {
    Scope scope({.budget = Bytes(memory::usage().reserved + 8 * memory::footprint(4096)),
                 .policy = Online{}});
    at::Tensor mine = x * 1;
    for (int i = 0; i < 200; ++i) change(mine);
    const std::int64_t after_some = the_engine().recorder_bytes();
    for (int i = 0; i < 800; ++i) change(mine);
    EXPECT_LE(the_engine().recorder_bytes(), after_some);
    mine.reset();
    the_engine().validate();
    scope.end();
  }
  EXPECT_EQ(the_engine().recorder_bytes(), 0);
  EXPECT_EQ(memory::usage().live, live);
}

TEST(Recorder, does_not_grow_when_a_tensor_is_changed_by_a_function_of_itself) {
  expect_recorder_does_not_grow([](at::Tensor& x) { x += torch::tanh(x); });
}

TEST(Recorder, does_not_grow_when_a_tensor_is_changed_through_several_dead_ones) {
  expect_recorder_does_not_grow(
      [](at::Tensor& x) { x.add_(torch::sigmoid(torch::tanh(x) * x), 0.5); });
}

TEST(Recorder, does_not_grow_when_a_tensor_is_overwritten_by_a_function_of_itself) {
  expect_recorder_does_not_grow([](at::Tensor& x) { x.copy_(torch::tanh(x)); });
}

TEST(Recorder, does_not_grow_when_a_part_is_changed_by_a_function_of_the_other) {
  expect_recorder_does_not_grow(
      [](at::Tensor& x) { x.narrow(0, 0, 8).add_(torch::tanh(x.narrow(0, 8, 8))); });
}

TEST(Recorder, does_not_grow_when_two_tensors_are_changed_by_each_other) {
  at::Tensor other = torch::rand({32, 32});
  expect_recorder_does_not_grow([&](at::Tensor& x) {
    x += torch::tanh(other);
    other += torch::tanh(x);
  });
}

TEST(Recorder, does_not_grow_with_grad_mode_off) {
  expect_recorder_does_not_grow([](at::Tensor& x) {
    const torch::NoGradGuard no_grad;
    x += torch::tanh(x);
  });
}

// A recurrent network that never cuts its history. Each value is made from the one before it, and
// only the last one is alive.
TEST(Recorder, does_not_grow_with_a_chain_of_values_under_a_given_one_that_is_renewed) {
  expect_recorder_does_not_grow([](at::Tensor& x) {
    x = torch::tanh(x);
    const torch::NoGradGuard no_grad;
    x.mul_(1.01);
  });
}

TEST(Recorder, changes_a_tensor_by_a_function_of_itself_right) {
  expect_same_bytes_under_budgets(
      [] {
        at::Tensor x = torch::rand({64, 64});
        std::vector<at::Tensor> left;
        for (int i = 0; i < 20; ++i) {
          left.push_back(torch::sigmoid(x));
          x = x * 1;
          x += torch::tanh(x);
        }
        at::Tensor sum = x;
        for (const at::Tensor& one : left) sum = sum + one;
        left.clear();
        return std::vector<at::Tensor>{x, sum};
      },
      {60, 40});
}

struct Training {
  torch::nn::Sequential model{torch::nn::Linear(32, 64), torch::nn::Tanh(),
                              torch::nn::Dropout(0.2),   torch::nn::Linear(64, 64),
                              torch::nn::Tanh(),         torch::nn::Linear(64, 8)};
  torch::optim::Adam optimizer{model->parameters(), 1e-3};

  void step() {
    optimizer.zero_grad();
    const at::Tensor x = torch::randn({128, 32});
    const at::Tensor y = checkpoint([&](const at::Tensor& in) { return model->forward(in); }, x);
    y.pow(2).mean().backward();
    optimizer.step();
  }
};

TEST(Recorder, leaves_live_bytes_exactly_where_they_were_over_200_steps_with_regions) {
  Training training;
  training.step();
  const std::int64_t live = memory::usage().live;
  const Counts counts;
  for (int step = 0; step < 200; ++step) {
    training.step();
    ASSERT_EQ(memory::usage().live, live) << "after step " << step;
    ASSERT_EQ(the_engine().recorder_bytes(), 0);
  }
  EXPECT_GT(counts.replays(), 200);
}

TEST(Recorder, leaves_live_bytes_exactly_where_they_were_over_200_steps_with_budgets) {
  Training training;
  training.step();
  memory::trim();
  memory::reset_peak();
  const std::int64_t live = memory::usage().live;
  training.step();
  const std::int64_t peak = memory::usage().peak;
  ASSERT_EQ(memory::usage().live, live);
  const Counts counts;
  for (int step = 0; step < 200; ++step) {
    memory::trim();
    Scope scope({.budget = Bytes(live + (peak - live) * 95 / 100), .policy = Online{}});
    training.step();
    scope.end();
    ASSERT_EQ(memory::usage().live, live) << "after step " << step;
    ASSERT_EQ(the_engine().recorder_bytes(), 0);
  }
  EXPECT_GT(counts.replays(), 200);
}

TEST(Recorder, leaves_live_bytes_exactly_where_they_were_over_200_steps_in_one_scope) {
  Training training;
  training.step();
  memory::trim();
  Scope scope;
  training.step();
  training.step();
  const std::int64_t live = memory::usage().live;
  const std::int64_t recorder = the_engine().recorder_bytes();
  const Counts counts;
  for (int step = 0; step < 200; ++step) {
    training.step();
    ASSERT_EQ(memory::usage().live, live) << "after step " << step;
    ASSERT_EQ(the_engine().recorder_bytes(), recorder) << "after step " << step;
  }
  scope.end();
  EXPECT_GT(counts.replays(), 200);
}

}  // namespace
}  // namespace neap::test
