// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What happens between the gradients and the parameters: a loss that is not finite, clipping, and
// the learning rate.
#include "train/training.h"

#include <torch/nn/utils/clip_grad.h>

#include <cmath>
#include <limits>

namespace neap::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// The state after two epochs of three steps.
train::State trained(const train::TrainerOptions& options, Job& job) {
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4, options);
  trainer.fit(uneven_batches(), 2);
  return state_of(job);
}

train::State trained_by_hand(const ByHand& by_hand) {
  Job job;
  for (int epoch = 0; epoch < 2; ++epoch) by_hand.epoch(job, uneven_batches());
  return state_of(job);
}

void expect_equal_with_and_without_a_budget(
    const ByHand& by_hand, const std::function<train::TrainerOptions(Job&)>& options) {
  const train::State expected = trained_by_hand(by_hand);
  EXPECT_NE(first_difference(expected, trained_by_hand({})), "") << "it changes nothing";
  for (const bool budget : {false, true}) {
    SCOPED_TRACE(budget);
    Job job;
    train::TrainerOptions all = options(job);
    if (budget) all.budget = budget_at(70);
    EXPECT_EQ(first_difference(expected, trained(all, job)), "");
  }
}

// ---- Clipping ----

TEST(TrainerClip, by_norm_has_the_bits_of_LibTorchs_and_tells_the_norm) {
  expect_equal_with_and_without_a_budget(
      {.change =
           [](Job& job) { torch::nn::utils::clip_grad_norm_(job.model->parameters(), 0.05); }},
      [](Job&) { return train::TrainerOptions{.clip = train::ClipNorm{0.05}}; });
  Job job;
  MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4,
                                 {.clip = train::ClipNorm{0.05}});
  const train::StepResult step = first_step(trainer, uneven_batches());
  Job same;
  double norm = 0;
  ByHand{.change = [&](Job& now) {
    norm = torch::nn::utils::clip_grad_norm_(now.model->parameters(), 0.05);
  }}.epoch(same, batches_of({64, 64, 64, 64}));
  EXPECT_EQ(step.gradient_norm, norm);
}

TEST(TrainerClip, by_another_norm_takes_that) {
  constexpr double kLargest = std::numeric_limits<double>::infinity();
  expect_equal_with_and_without_a_budget(
      {.change =
           [](Job& job) {
             torch::nn::utils::clip_grad_norm_(job.model->parameters(), 0.01, kLargest);
           }},
      [](Job&) {
        return train::TrainerOptions{.clip = train::ClipNorm{0.01, kLargest}};
      });
}

TEST(TrainerClip, by_value_has_the_bits_of_LibTorchs) {
  expect_equal_with_and_without_a_budget(
      {.change =
           [](Job& job) { torch::nn::utils::clip_grad_value_(job.model->parameters(), 0.002); }},
      [](Job&) { return train::TrainerOptions{.clip = train::ClipValue{0.002}}; });
}

// ---- The learning rate ----

TEST(TrainerSchedule, by_a_function_of_the_step_is_asked_once_before_each) {
  const auto rate = [](std::int64_t step) { return 0.01 / static_cast<double>(step + 1); };
  std::int64_t done = 0;
  std::vector<std::int64_t> asked;
  expect_equal_with_and_without_a_budget(
      {.change =
           [&](Job& job) { job.optimizer->param_groups()[0].options().set_lr(rate(done++ % 6)); }},
      [&](Job&) {
        asked.clear();
        return train::TrainerOptions{.schedule = [&](std::int64_t step) {
          asked.push_back(step);
          return rate(step);
        }};
      });
  EXPECT_EQ(asked, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
}

TEST(TrainerSchedule, by_a_scheduler_of_LibTorch_is_stepped_after_each) {
  Job job;
  torch::optim::StepLR mine(*job.optimizer, /*step_size=*/2, /*gamma=*/0.5);
  for (int epoch = 0; epoch < 2; ++epoch) {
    ByHand{.after = [&](Job&) { mine.step(); }}.epoch(job, uneven_batches());
  }
  const train::State expected = state_of(job);
  for (const bool budget : {false, true}) {
    Job other;
    torch::optim::StepLR its(*other.optimizer, 2, 0.5);
    train::TrainerOptions options{.schedule = &its};
    if (budget) options.budget = budget_at(70);
    EXPECT_EQ(first_difference(expected, trained(options, other)), "");
    EXPECT_EQ(other.optimizer->param_groups()[0].options().get_lr(),
              job.optimizer->param_groups()[0].options().get_lr());
  }
}

TEST(TrainerSchedule, of_a_rate_that_is_no_number_is_refused_before_parameters_change) {
  for (const double rate : {kNaN, -0.5}) {
    Job job;
    const ByteLists before = bytes_of(job.model->parameters());
    MemoryEfficientTrainer trainer(job.model, *job.optimizer, kBatch, 4,
                                   {.schedule = [=](std::int64_t) { return rate; }});
    const std::string text =
        message_of<InvalidArgument>([&] { trainer.train_epoch(uneven_batches()); });
    EXPECT_NE(text.find("the schedule gives step 1 a rate of " + std::to_string(rate)),
              std::string::npos)
        << text;
    EXPECT_EQ(test::first_difference(before, bytes_of(job.model->parameters())), std::nullopt);
  }
}

// ---- Losses and gradients that are not finite ----

// A model without statistics and random numbers, so that a skipped step leaves no trace.
struct PlainJob {
  PlainJob() { torch::manual_seed(3); }
  torch::nn::Sequential model = [] {
    torch::manual_seed(3);
    return torch::nn::Sequential(torch::nn::Linear(kIn, 32), torch::nn::Tanh(),
                                 torch::nn::Linear(32, kClasses));
  }();
  torch::optim::SGD optimizer{model->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9)};
  train::State state() { return train::State::of(*model, optimizer, 0); }
};

TEST(TrainerNonFinite, loss_stops_and_names_the_step_and_the_micro_batch) {
  for (const double value : {kNaN, -std::numeric_limits<double>::infinity()}) {
    const auto good = batches_of({64, 64, 64, 64});
    const auto bad = batches_of({64, 64, 64, 64}, 7);
    const auto loss = [&](const at::Tensor& output, const at::Tensor& target) {
      const at::Tensor mean = torch::cross_entropy_loss(output, target);
      return target.is_same(bad[2].y) ? mean * value : mean;
    };
    PlainJob job, never;
    MemoryEfficientTrainer trainer(job.model, job.optimizer, kBatch, 4, {}, loss);
    MemoryEfficientTrainer other(never.model, never.optimizer, kBatch, 4, {}, loss);
    first_step(trainer, good);
    first_step(other, good);
    never.optimizer.zero_grad();
    try {
      first_step(trainer, bad);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const train::NonFinite& error) {
      EXPECT_EQ(error.step, 2);
      EXPECT_EQ(error.micro_batch, 3);
      EXPECT_EQ(std::isnan(error.value), std::isnan(value));
      EXPECT_FALSE(std::isfinite(error.value));
      const std::string text = error.what();
      EXPECT_NE(text.find("the loss of micro-batch 3 of step 2 is "), std::string::npos) << text;
      EXPECT_NE(text.find("parameters and optimizer state are as before"), std::string::npos);
    }
    EXPECT_EQ(first_difference(never.state(), job.state()), "");
    first_step(trainer, good);
    first_step(other, good);
    EXPECT_EQ(first_difference(never.state(), job.state()), "") << "it goes on as if that was not";
  }
}

TEST(TrainerNonFinite, gradient_with_a_finite_loss_stops_too_where_its_norm_is_known) {
  // The root of zero has a value, but no finite gradient.
  const auto loss = [](const at::Tensor& output, const at::Tensor&) {
    return (output - output.detach()).abs().sum().sqrt();
  };
  PlainJob job;
  const train::State before = job.state();
  MemoryEfficientTrainer trainer(job.model, job.optimizer, kBatch, 4, {.clip = train::ClipNorm{1}},
                                 loss);
  try {
    first_step(trainer, batches_of({64, 64}));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const train::NonFinite& error) {
    EXPECT_EQ(error.step, 1);
    EXPECT_EQ(error.micro_batch, 0);
    EXPECT_NE(std::string(error.what()).find("the norm of the gradient of step 1 is "),
              std::string::npos)
        << error.what();
  }
  EXPECT_EQ(first_difference(before, job.state()), "");
}

}  // namespace
}  // namespace neap::test
