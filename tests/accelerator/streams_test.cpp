// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Several streams of one device: see Device::join_streams().
#include "accelerator/accelerator.h"
#include "engine/engine.h"
#include "memory/allocator.h"
#include "support/families.h"
#include "support/training_runs.h"

#include <neap/neap.h>

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace neap::test {
namespace {

const c10::impl::VirtualGuardImpl& guard() {
  static const c10::impl::VirtualGuardImpl guard(accelerator().type());
  return guard;
}
c10::Stream side_stream() { return guard().getNewStream(accelerator()); }

// Later work of `after` runs after what `before` was given so far.
void order(const c10::Stream& before, const c10::Stream& after) {
  c10::Event event(accelerator().type());
  event.record(before);
  event.block(after);
}

TEST(Streams, without_an_event_one_does_not_see_what_another_writes) {
  const at::Tensor x = torch::zeros({1000}).to(accelerator());
  const at::Tensor too_early = torch::zeros({1000}).to(accelerator());
  const c10::Stream side = side_stream(), here = guard().getStream(accelerator());
  at::Tensor y;
  {
    const c10::StreamGuard on_side(side);
    y = x + 12345;
  }
  c10::Event event(accelerator().type());
  event.record(side);
  EXPECT_FALSE(event.query());
  too_early.copy_(y);  // allocates nothing, so neap does not order it
  event.block(here);
  const at::Tensor in_time = y + 0;
  EXPECT_TRUE(event.query());
  EXPECT_FALSE((too_early.cpu() == 12345).any().item<bool>());
  EXPECT_TRUE((in_time.cpu() == 12345).all().item<bool>());
}

TEST(Streams, a_freed_block_is_not_written_by_the_stream_that_had_it) {
  const at::Tensor x = torch::ones({1000}).to(accelerator());
  at::Tensor y;
  {
    const c10::StreamGuard on_side(side_stream());
    y = x * 3;
  }
  const void* const data = y.const_data_ptr();
  y.reset();
  y = x + 4;
  ASSERT_EQ(y.const_data_ptr(), data) << "the test needs a block that is used again";
  guard().synchronizeDevice(accelerator().index());
  EXPECT_TRUE((y.cpu() == 5).all().item<bool>());
}

// The program orders `aside` after `y`, and no more than that: plain LibTorch needs no more.
// `remains_attached`: neap still sees operators after that, since another storage is evicted.
void expect_whole_for_another_stream(bool remains_attached) {
  const at::Tensor x = torch::ones({1000}).to(accelerator());
  const at::Tensor aside = torch::zeros({1000}).to(accelerator());
  const at::Tensor copy = torch::zeros({1000}).to(accelerator());
  const c10::Stream side = side_stream(), here = guard().getStream(accelerator());
  const std::int64_t replays = engine::Engine::instance().stats().replays;
  at::Tensor y, other;
  checkpoint([&] {
    y = x * 3;
    if (remains_attached) other = x * 4;
  });
  (void)(x * 7);  // in the block that y had
  guard().synchronizeDevice(accelerator().index());
  order(here, side);
  {
    const c10::StreamGuard on_side(side);
    aside.copy_(y);
  }
  copy.copy_(y);
  EXPECT_EQ(engine::Engine::instance().stats().replays, replays + 1);
  EXPECT_TRUE((copy.cpu() == 3).all().item<bool>());
}
TEST(Streams, what_is_made_again_for_one_stream_is_whole_for_another) {
  expect_whole_for_another_stream(true);
}
TEST(Streams, the_last_that_is_made_again_for_one_stream_is_whole_for_another) {
  expect_whole_for_another_stream(false);
}

// Each layer has two branches, one of them on a stream of its own.
struct BranchesImpl : torch::nn::Module {
  explicit BranchesImpl(std::int64_t width)
      : here(register_module("here", torch::nn::Linear(width, width))),
        aside(register_module("aside", torch::nn::Linear(width, width))) {}
  at::Tensor forward(const at::Tensor& x, const c10::Stream& side) {
    const c10::Stream current = guard().getStream(accelerator());
    order(current, side);
    at::Tensor branch;
    {
      const c10::StreamGuard on_side(side);
      branch = torch::dropout(torch::gelu(aside(x)), 0.1, true);
    }
    const at::Tensor own = torch::tanh(here(x)) * torch::sigmoid(x);
    order(side, current);
    return own + branch;
  }
  torch::nn::Linear here, aside;
};
TORCH_MODULE(Branches);

Job branches() {
  Job job;
  torch::nn::ModuleList layers;
  for (int layer = 0; layer < 6; ++layer) layers->push_back(Branches(64));
  job.model = layers.ptr();
  job.optimizers = {
      std::make_shared<torch::optim::Adam>(layers->parameters(), torch::optim::AdamOptions(1e-3))};
  const at::Tensor input = torch::randn({256, 64});
  const c10::Stream side = side_stream();
  job.step = [layers, side, input, optimizer = job.optimizers.front()] {
    optimizer->zero_grad();
    at::Tensor x = input;
    for (const auto& layer : *layers) x = layer->as<Branches>()->forward(x, side);
    const at::Tensor loss = x.pow(2).mean();
    loss.backward();
    optimizer->step();
    return loss.item<double>();
  };
  return job;
}

TEST(Streams, a_model_with_branches_on_two_streams_has_equal_bits_inside_a_budget) {
  constexpr int kSteps = 4;
  constexpr std::uint64_t kSeed = 7;
  const Family family = {"branches", &branches};
  const MakesTensors makes_tensors;
  seed_accelerator(kSeed);
  const TrainingRun plain = run_plain(family, kSteps, kSeed);
  std::int64_t replays = 0;
  for (const double percent : {80.0, 60.0, 40.0}) {
    for (const PlanMode& mode : {PlanMode(Online{}), PlanMode(Planned{})}) {
      SCOPED_TRACE(std::to_string(percent) + (mode.online() ? " online" : " planned"));
      memory::trim();
      seed_accelerator(kSeed);
      const std::int64_t budget = budget_at(plain, percent);
      (void)accelerator_most_bytes();
      const TrainingRun run = run_in_scope(family, kSteps, kSeed, budget, mode);
      EXPECT_LE(run.peak, budget);
      EXPECT_LE(accelerator_most_bytes(), budget);
      for (std::size_t step = 0; step < plain.states.size(); ++step) {
        ASSERT_EQ(plain.states[step].first_difference(run.states[step]), "") << "step " << step;
      }
      replays += run.replays;
    }
  }
  EXPECT_GT(replays, 0);
}

}  // namespace
}  // namespace neap::test
