// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Small training jobs of the kinds that people train. Each makes the engine do something that the
// others do not.
#pragma once

#include <neap/checkpoint.h>
#include <neap/train.h>

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace neap::test {

// A model with its optimizers. step() runs a whole training step and returns the loss. It is like a
// user's code, and knows nothing of neap.
struct Job {
  std::shared_ptr<torch::nn::Module> model;
  std::vector<std::shared_ptr<torch::optim::Optimizer>> optimizers;
  std::function<double()> step;
};

struct Family {
  std::string name;
  std::function<Job()> make;  // draws from LibTorch's generator: seed it first
  bool two_threads = false;   // plain LibTorch gives the same bits twice with two threads
};

// The device on which LibTorch makes the families: the CPU, unless a test changes it.
c10::DeviceType& place();
const std::vector<Family>& families();
// Ways to train that hold, make or write tensors beside the layers. Not all of them can run in far
// less memory than plain LibTorch needs.
const std::vector<Family>& schemes();

// What a job leaves: parameters, gradients, buffers, optimizer state, generator, loss.
class JobState {
 public:
  static JobState of(const Job& job, double loss);
  // The name of the first thing that differs; empty when all bytes are equal.
  [[nodiscard]] std::string first_difference(const JobState& other) const;

 private:
  std::vector<train::State> states_;  // one an optimizer
};

struct TrainingRun {
  std::vector<JobState> states;  // after each step
  std::int64_t base = 0;         // live before the last step, without gradients
  std::int64_t peak = 0;         // plain: live in the last step; neap: reserved in any
  std::int64_t operators = 0;
  std::int64_t replays = 0;
  Stats last = {};  // of the last step
};

TrainingRun run_plain(const Family& family, int steps, std::uint64_t seed);
// `budget` counts the bytes of the whole process; 0: a scope without a budget. Each step has a
// scope of its own, and no plan is being made while a step runs.
// Throws: BudgetExceeded.
TrainingRun run_in_scope(const Family& family, int steps, std::uint64_t seed, std::int64_t budget,
                         const PlanMode& policy = Online{});
// `base`, plus `percent` of what a plain step needs above it.
std::int64_t budget_at(const TrainingRun& plain, double percent);

}  // namespace neap::test
