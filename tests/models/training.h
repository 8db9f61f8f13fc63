// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/models/training.h: trains the same model plainly and checkpointed, and compares everything
// that the steps leave.
#pragma once

#include "engine/engine.h"
#include "memory/allocator.h"
#include "support/bytes.h"

#include <neap/models.h>
#include <neap/neap.h>
#include <neap/train.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace neap::test {

constexpr std::uint64_t kSeed = 7;
constexpr int kSteps = 5;

class Models : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0) << "records are left behind";
    engine::Engine::instance().validate();
  }
};

inline std::int64_t live() { return memory::usage().live; }
inline std::int64_t replays() { return engine::Engine::instance().stats().replays; }

// What kSteps steps leave, and what the last one took. Momenta carry an error of any step on to the
// last state.
struct Training {
  std::vector<double> losses;
  train::State state;        // parameters, gradients, buffers, momenta, generator, loss
  std::int64_t kept = 0;     // live after the forward of the last step, above what was before
  std::int64_t peak = 0;     // of the last step, above what was live before it
  std::int64_t replays = 0;  // in the last step
};

// make() gives the model and may draw from the generator; step(model, optimizer, training) trains
// once and returns the loss.
template <class Make, class Step>
Training train_by(const Make& make, const Step& step) {
  torch::manual_seed(kSeed);
  auto model = make();
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
  Training training;
  for (int i = 0; i < kSteps; ++i) {
    optimizer.zero_grad();
    training.losses.push_back(step(model, optimizer, training));
  }
  training.state = train::State::of(*model, optimizer, training.losses.back());
  return training;
}

// loss_of(model) runs a forward pass on inputs that it has itself.
template <class Make, class LossOf>
Training train(const Make& make, const LossOf& loss_of) {
  return train_by(make, [&](auto& model, auto& optimizer, Training& training) {
    memory::reset_peak();
    const std::int64_t before = live(), replays_before = replays();
    const at::Tensor loss = loss_of(model);
    training.kept = live() - before;
    loss.backward();
    optimizer.step();
    training.peak = memory::usage().peak - before;
    training.replays = replays() - replays_before;
    return loss.template item<double>();
  });
}

// Like train(), with each step in a scope whose budget is `room` bytes above what is live before
// it.
template <class Make, class LossOf>
Training train_in_budget(const Make& make, const LossOf& loss_of, std::int64_t room) {
  return train_by(make, [&](auto& model, auto& optimizer, Training& /*training*/) {
    memory::trim();
    const Bytes budget(live() + room);
    Scope scope({.budget = budget, .policy = Online{}});
    const at::Tensor loss = loss_of(model);
    loss.backward();
    optimizer.step();
    scope.end();
    EXPECT_LE(scope.stats().peak_bytes, budget.count());
    EXPECT_GT(scope.stats().replays, 0) << "the budget was not tight, so nothing was tested";
    return loss.template item<double>();
  });
}

inline void expect_same_states(const Training& plain, const Training& found) {
  ASSERT_GT(plain.state.parts(), 3) << "a model without parameters proves nothing";
  const auto difference = plain.state.first_difference(found.state);
  ASSERT_FALSE(difference) << difference->name;
  EXPECT_EQ(plain.losses, found.losses);
  // Checked because NaN losses would hide differences.
  for (const double loss : plain.losses) ASSERT_TRUE(std::isfinite(loss));
}

// Throwing anything but InvalidArgument with exactly `text` fails.
template <class Call>
void expect_refused(const std::string& text, const Call& call) {
  SCOPED_TRACE(text);
  try {
    call();
    ADD_FAILURE() << "accepted";
  } catch (const InvalidArgument& error) {
    EXPECT_EQ(error.what(), text);
  } catch (const std::exception& error) {
    ADD_FAILURE() << "not InvalidArgument: " << std::string(error.what()).substr(0, 200);
  }
}

inline std::vector<std::string> parameter_names(const torch::nn::Module& model) {
  std::vector<std::string> names;
  for (const auto& item : model.named_parameters()) names.push_back(item.key());
  return names;
}

// Copies by name, as weights are loaded; every name must be in both.
inline void load(const torch::nn::Module& from, const torch::nn::Module& to) {
  const torch::NoGradGuard no_grad;
  ASSERT_EQ(parameter_names(from), parameter_names(to));
  auto targets = to.named_parameters();
  for (const auto& item : from.named_parameters()) targets[item.key()].copy_(item.value());
}

}  // namespace neap::test
