// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/snapshot/saved_training.h: a small model that trains, for the tests of snapshots.
#pragma once

#include <neap/snapshot.h>

#include "support/scratch_folder.h"

#include <neap/train.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>
#include <functional>
#include <memory>
#include <sstream>

namespace neap::train {

namespace fs = std::filesystem;
using testing::HasSubstr;
using torch::optim::Optimizer;
using MakeOptimizer = std::function<std::unique_ptr<Optimizer>(torch::nn::Module&)>;

constexpr std::int64_t kWidth = 24;

class Folder : public test::ScratchFolder {
 public:
  [[nodiscard]] const std::filesystem::path& path() const { return folder_; }
};

// A perceptron with a batch norm and dropout, so that buffers and the generator matter.
inline torch::nn::Sequential make_model() {
  return torch::nn::Sequential(torch::nn::Linear(kWidth, kWidth), torch::nn::BatchNorm1d(kWidth),
                               torch::nn::ReLU(), torch::nn::Dropout(0.3),
                               torch::nn::Linear(kWidth, 4));
}

inline std::unique_ptr<Optimizer> adamw(torch::nn::Module& model) {
  return std::make_unique<torch::optim::AdamW>(model.parameters(),
                                               torch::optim::AdamWOptions(1e-2));
}

inline MicroBatch batch_of(std::int64_t step) {
  at::Generator mine = at::detail::createCPUGenerator(static_cast<std::uint64_t>(step) + 100);
  return {torch::randn({16, kWidth}, mine), torch::randint(0, 4, {16}, mine)};
}

// A model, and what trains it.
class Training {
 public:
  explicit Training(const MakeOptimizer& make = adamw, std::uint64_t seed = 1) {
    torch::manual_seed(seed);
    model = make_model();
    optimizer = make(*model);
  }

  // Steps first + 1 to last.
  void train(std::int64_t first, std::int64_t last, std::optional<Bytes> budget = {},
             const std::function<void(std::int64_t)>& after = {}) {
    const Model whole(model);
    Trainer trainer(
        [&](const at::Tensor& x, const at::Tensor& y) {
          return cross_entropy(whole.forward(x), y);
        },
        *optimizer,
        {.budget = budget,
         .schedule =
             [](std::int64_t step) { return 1e-2 / (1.0 + 0.1 * static_cast<double>(step)); },
         .policy = Online{},
         .steps_done = first});
    for (std::int64_t step = first; step < last; ++step) {
      const MicroBatch batch = batch_of(step);
      loss = trainer.step(batch.x, batch.y, 2).loss;
      if (after) after(step + 1);
    }
  }

  [[nodiscard]] State state() const { return State::of(*model, *optimizer, loss); }

  torch::nn::Sequential model{nullptr};
  std::unique_ptr<Optimizer> optimizer;
  double loss = 0;
};

inline void expect_equal(const State& a, const State& b, const std::string& where) {
  const auto difference = a.first_difference(b);
  EXPECT_FALSE(difference) << where << ": " << (difference ? difference->name : "");
}

inline std::string why_not(const std::function<void()>& call) {
  try {
    call();
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

struct NamedOptimizer {
  std::string name;
  MakeOptimizer make;
};

inline std::vector<NamedOptimizer> optimizers() {
  using namespace torch::optim;
  return {
      {"SGD",
       [](torch::nn::Module& model) {
         return std::make_unique<SGD>(model.parameters(),
                                      SGDOptions(0.05).momentum(0.9).nesterov(true));
       }},
      {"SGD without momentum",
       [](torch::nn::Module& model) {
         return std::make_unique<SGD>(model.parameters(), SGDOptions(0.05));
       }},
      {"Adam, amsgrad",
       [](torch::nn::Module& model) {
         return std::make_unique<Adam>(model.parameters(), AdamOptions(1e-2).amsgrad(true));
       }},
      {"RMSprop, centered",
       [](torch::nn::Module& model) {
         return std::make_unique<RMSprop>(model.parameters(),
                                          RMSpropOptions(1e-3).centered(true).momentum(0.5));
       }},
      {"Adagrad",
       [](torch::nn::Module& model) {
         return std::make_unique<Adagrad>(model.parameters(), AdagradOptions(1e-2));
       }},
      {"AdamW in two groups",
       [](torch::nn::Module& model) {
         const std::vector<at::Tensor> all = model.parameters();
         std::vector<OptimizerParamGroup> groups;
         groups.emplace_back(std::vector<at::Tensor>(all.begin(), all.begin() + 2),
                             std::make_unique<AdamWOptions>(AdamWOptions(1e-2).weight_decay(0)));
         groups.emplace_back(std::vector<at::Tensor>(all.begin() + 2, all.end()));
         return std::make_unique<AdamW>(groups, AdamWOptions(1e-3));
       }},
  };
}

}  // namespace neap::train
