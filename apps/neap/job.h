// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A model with its loss and optimizer, and the samples that it learns from.
#pragma once

#include "command_line.h"

#include <neap/plugin.h>
#include <neap/train.h>

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace neap::app {

// One of the command's models, or that of a library. Throws: as load_own_model().
plugin::Definition find_model(const std::string& name);

// Of --policy and --plan-cache. Throws: UsageError.
Policy parse_policy(const TrainingOptions& options);
// Throws: UsageError when a batch cannot be cut into so many parts.
void check_parts(std::int64_t accumulate, std::int64_t batch_size);

struct Job {
  train::Model model;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  train::Loss loss;
};

// What to train, and how: a model's definition, and what the command line says otherwise.
class Task {
 public:
  // Without data: on batches of make_batch(). `shape`: of a sample, from --input; empty: the model's own.
  // Throws: UsageError when the definition leaves open what is needed.
  static Task without_data(const RunOptions& options, plugin::Definition definition,
                           std::vector<std::int64_t> shape = {});
  // For `samples` from `origin`, as "--data DIR". `options` must outlive the task.
  // Throws: UsageError for sizes or an optimizer that cannot be meant.
  Task(const RunOptions& options, plugin::Definition definition, plugin::Samples samples,
       std::string origin);

  // Throws: UsageError when the model cannot read such samples; what the library throws.
  [[nodiscard]] train::Model make_model(bool use_checkpoint = false) const;
  [[nodiscard]] std::unique_ptr<torch::optim::Optimizer> make_optimizer(
      const torch::nn::Module& model) const;
  // Seeds LibTorch's generator, so that two jobs of a task are the same.
  [[nodiscard]] Job make_job() const;
  // The library's own, or noise. Throws: Error when the library's has not so many rows.
  [[nodiscard]] train::MicroBatch make_batch(std::int64_t rows, std::uint64_t seed) const;
  // One for each step of a run, from 0.
  [[nodiscard]] train::MicroBatch batch_of_step(std::int64_t rows, std::int64_t step) const;
  // For people: the model, its samples, how many of them, the optimizer.
  [[nodiscard]] std::string name_of_step(std::int64_t rows) const;
  // `other` where neither the command line nor the definition says it.
  [[nodiscard]] std::int64_t batch_size(std::int64_t named, std::int64_t other) const;

  [[nodiscard]] const plugin::Samples& samples() const { return samples_; }
  // An interrupt ends it: a plain step has no scope that could. Throws: Interrupted.
  [[nodiscard]] train::Criterion loss() const;
  [[nodiscard]] std::int64_t class_dim() const { return definition_.class_dim; }
  [[nodiscard]] double learning_rate() const;

 private:
  [[nodiscard]] std::string own_optimizer() const;  // where the command line names none
  [[nodiscard]] std::string optimizer_name() const;

  const RunOptions& options_;
  plugin::Definition definition_;
  plugin::Samples samples_;
  std::string origin_;  // of the samples, for messages
};

}  // namespace neap::app
