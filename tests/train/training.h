// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/train/training.h: a small job, and the training loop that a person would write for it with
// plain LibTorch.
#pragma once

#include "support/bytes.h"
#include "support/message_of.h"

#include <neap/neap.h>
#include <neap/train.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap::test {

using train::MicroBatch;

constexpr std::int64_t kBatch = 64, kIn = 24, kClasses = 5;

// A job without convolutions, but with everything that a step can get wrong: statistics, random
// numbers, optimizer state.
struct Job {
  Job() {
    torch::manual_seed(11);
    for (int i = 0; i < 6; ++i) {
      model->push_back(torch::nn::Linear(i == 0 ? kIn : 48, 48));
      model->push_back(torch::nn::BatchNorm1d(48));
      model->push_back(torch::nn::GELU());
      model->push_back(torch::nn::Dropout(0.2));
    }
    model->push_back(torch::nn::Linear(48, kClasses));
    optimizer = std::make_unique<torch::optim::AdamW>(model->parameters(),
                                                      torch::optim::AdamWOptions(0.01));
    torch::manual_seed(12);  // what dropout draws
  }

  torch::nn::Sequential model;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
};

inline train::State state_of(const Job& job, double loss = 0) {
  return train::State::of(*job.model, *job.optimizer, loss);
}

// The name of the first tensor that differs.
inline std::string first_difference(const train::State& expected, const train::State& found) {
  const auto difference = expected.first_difference(found);
  return difference ? difference->name + " " + difference->expected + " " + difference->found : "";
}

// One micro-batch of each size. The labels do not draw from the default generator.
inline std::vector<MicroBatch> batches_of(const std::vector<std::int64_t>& sizes,
                                          std::uint64_t seed = 5) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  std::vector<MicroBatch> batches;
  for (const std::int64_t rows : sizes) {
    batches.push_back({torch::randn({rows, kIn}, generator),
                       torch::randint(kClasses, {rows}, generator, torch::kLong)});
  }
  return batches;
}

// Ten micro-batches in groups of four: the last group has two, and the last micro-batch few rows.
inline std::vector<MicroBatch> uneven_batches() {
  return batches_of({64, 64, 64, 64, 64, 64, 64, 64, 64, 5});
}

// One optimizer step on the first micro-batches of a loader.
template <class Range>
train::StepResult first_step(MemoryEfficientTrainer& trainer, Range&& loader) {
  train::Pass pass(loader);
  return trainer.step(pass).value();
}

// The loop that a person writes without neap. For each group, `change` runs between backward and
// optimizer step, and `after` runs after the step.
struct ByHand {
  std::int64_t accumulate = 4;
  std::function<void(Job&)> change = [](Job&) {};
  std::function<void(Job&)> after = [](Job&) {};

  void epoch(Job& job, const std::vector<MicroBatch>& batches) const {
    const double full = static_cast<double>(kBatch * accumulate);
    for (std::size_t begin = 0; begin < batches.size();
         begin += static_cast<std::size_t>(accumulate)) {
      const std::size_t end =
          std::min(batches.size(), begin + static_cast<std::size_t>(accumulate));
      job.optimizer->zero_grad();
      double rows = 0;
      for (std::size_t i = begin; i < end; ++i) {
        const auto count = static_cast<double>(batches[i].x.size(0));
        const at::Tensor loss =
            torch::cross_entropy_loss(job.model->forward(batches[i].x), batches[i].y);
        (loss * (count / full)).backward();
        rows += count;
      }
      if (rows != full) {
        const torch::NoGradGuard no_grad;
        for (const at::Tensor& parameter : job.model->parameters()) {
          parameter.mutable_grad() *= full / rows;
        }
      }
      change(job);
      job.optimizer->step();
      after(job);
    }
  }
};

// `percent` of what a plain step of four micro-batches needs above what stays between steps.
inline Bytes budget_at(int percent) {
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  const at::Tensor before = generator.get_state();
  Job job;
  const MicroBatch batch = batches_of({4 * kBatch})[0];
  const auto plain = train::measure_plain(
      [&](const at::Tensor& x, const at::Tensor& y) {
        return torch::cross_entropy_loss(job.model->forward(x), y);
      },
      *job.optimizer, batch.x, batch.y, 4);
  generator.set_state(before);
  return *train::Budget::parse(std::to_string(percent) + "%").bytes(plain);
}

// Makes each micro-batch when it is asked for.
struct FreshBatches {
  int count;
  int made = 0;
  int alive_at_once = 0;
  std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> all = {};

  struct Iterator {
    FreshBatches* loader;
    int at;
    Iterator& operator++() {
      ++at;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return at != other.at; }
    std::pair<at::Tensor, at::Tensor> operator*() const { return loader->make(); }
  };
  std::pair<at::Tensor, at::Tensor> make() {
    const MicroBatch batch = batches_of({kBatch}, static_cast<std::uint64_t>(++made))[0];
    all.emplace_back(c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(
        batch.x.storage().unsafeGetStorageImpl()));
    int alive = 0;
    for (const auto& one : all) alive += one.expired() ? 0 : 1;
    alive_at_once = std::max(alive_at_once, alive);
    return {batch.x, batch.y};
  }
  Iterator begin() { return {this, 0}; }
  Iterator end() { return {this, count}; }
};

}  // namespace neap::test
