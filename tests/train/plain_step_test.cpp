// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a plain step needs, and the states with which another process compares.
#include "memory/allocator.h"
#include "train/training.h"

#include <gmock/gmock.h>

#include <vector>

namespace neap::test {
namespace {

// Each plain step once had its pages returned before it and paid for fresh ones. So neap seemed to
// take 0.61 of the plain time, without a replay.
TEST(PlainStep, is_timed_with_the_memory_of_the_steps_before_it) {
  Job job;
  const MicroBatch batch = batches_of({4 * kBatch})[0];
  std::vector<bool> has_pages;
  const auto plain = train::measure_plain(
      [&](const at::Tensor& x, const at::Tensor& y) {
        has_pages.push_back(memory::usage().cached > (1 << 16));
        return torch::cross_entropy_loss(job.model->forward(x), y);
      },
      *job.optimizer, batch.x, batch.y);
  EXPECT_EQ(has_pages, (std::vector<bool>{false, true, false, true, true, true}));
  EXPECT_GT(plain.peak, plain.base);
}

TEST(State, comes_back_from_its_bytes) {
  Job job;
  ByHand{}.epoch(job, uneven_batches());
  const train::State state = state_of(job);
  const train::State back = train::State::unpacked(state.packed());
  EXPECT_EQ(state.first_difference(back), std::nullopt);
  EXPECT_EQ(back.parts(), state.parts());
  EXPECT_EQ(back.bytes(), state.bytes());
  EXPECT_EQ(train::State::unpacked("").parts(), 0);
}

TEST(State, is_not_made_of_bytes_that_are_cut_short) {
  Job job;
  const std::string bytes = state_of(job).packed();
  for (const std::size_t length :
       {std::size_t{1}, std::size_t{8}, std::size_t{30}, bytes.size() - 1}) {
    EXPECT_THAT([&] { train::State::unpacked(bytes.substr(0, length)); },
                testing::ThrowsMessage<InvalidArgument>(
                    testing::HasSubstr("the bytes are no packed state")))
        << length;
  }
}

// Two kinds of steps: the one that makes the optimizer's state, and the later ones, which begin
// while the gradients of the step before exist.
TEST(PlainStep, lets_a_training_follow_plans_from_its_first_step_on) {
  const MicroBatch batch = batches_of({4 * kBatch})[0];
  const auto loss_of = [](const Job& job) {
    return [model = job.model](const at::Tensor& x, const at::Tensor& y) mutable {
      return torch::cross_entropy_loss(model->forward(x), y);
    };
  };
  constexpr int kSteps = 3;
  const auto steps = [&](Job& job, const train::TrainerOptions& how, const auto& check) {
    train::Trainer trainer(loss_of(job), *job.optimizer, how);
    for (int step = 0; step < kSteps; ++step) {
      torch::manual_seed(static_cast<std::uint64_t>(step));
      const train::StepResult result = trainer.step(batch.x, batch.y);
      check(step, result, state_of(job, result.loss));
    }
  };
  std::vector<train::State> expected;
  {
    Job job;
    steps(job, {.plain = true}, [&](int, const train::StepResult&, train::State state) {
      expected.push_back(std::move(state));
    });
  }
  train::PlainStep plain{};
  {
    Job job;
    plain = train::measure_plain(loss_of(job), *job.optimizer, batch.x, batch.y);
  }
  Job job;
  steps(job, {.budget = plain.peak},
        [&](int step, const train::StepResult& result, const train::State& state) {
          EXPECT_EQ(result.stats.plan_hits, 1) << "step " << step << ": " << result.stats.plan_note;
          EXPECT_EQ(first_difference(expected[static_cast<std::size_t>(step)], state), "");
        });
}

}  // namespace
}  // namespace neap::test
