// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A model with its loss and optimizer, and the samples that it is trained on.
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

// Finds one of the command's models, or loads one of a library. Throws: as load_own_model() and
// built_in_model(); UsageError for a size or label smoothing of a library's model.
plugin::Definition find_model(const RunOptions& options);

// Parses --policy and --plan-cache. Throws: UsageError.
PlanMode parse_policy(const TrainingOptions& options);
// Parses --offload and --offload-limit. Throws: UsageError.
std::optional<Offload> parse_offload(const TrainingOptions& options);
// Throws: UsageError when the batch cannot be split into `accumulate` parts.
void check_parts(std::int64_t accumulate, std::int64_t batch_size);

struct Job {
  train::Model model;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  train::Loss loss;
};

// What to train and how: a model's definition, and the options that override it.
class Task {
 public:
  // A task without a data set: it trains on batches of make_batch(). `shape`: the shape of a
  // sample, from --input; empty: the model's own. Throws: UsageError when the definition does not
  // give something that is needed.
  static Task without_data(const RunOptions& options, plugin::Definition definition,
                           std::vector<std::int64_t> shape = {});
  // The same with rows of as many tokens as --context says. Throws: also UsageError where the model
  // reads no tokens.
  static Task of_context(const TrainingOptions& options, plugin::Definition definition);
  // A task for `samples` from `origin`, such as "--data DIR". `options` must outlive the task.
  // Throws: UsageError for sizes or an optimizer that make no sense.
  Task(const RunOptions& options, plugin::Definition definition, plugin::Samples samples,
       std::string origin);

  // Throws: UsageError when the model cannot read such samples; also what the library throws.
  [[nodiscard]] train::Model make_model(bool use_checkpoint = false) const;
  [[nodiscard]] std::unique_ptr<torch::optim::Optimizer> make_optimizer(
      const torch::nn::Module& model) const;
  // Seeds LibTorch's generator first, so that all jobs of a task are the same.
  [[nodiscard]] Job make_job() const;
  // A batch of the library, or of noise. Throws: Error when the library's batch has another number
  // of rows.
  [[nodiscard]] train::MicroBatch make_batch(std::int64_t rows, std::uint64_t seed) const;
  // A different batch for each step of a run, counted from 0.
  [[nodiscard]] train::MicroBatch batch_of_step(std::int64_t rows, std::int64_t step) const;
  // For people: the model, its samples, the batch size, the optimizer.
  [[nodiscard]] std::string name_of_step(std::int64_t rows) const;
  // Returns `other` when neither the command line nor the definition gives a batch size.
  [[nodiscard]] std::int64_t batch_size(std::int64_t named, std::int64_t other) const;

  [[nodiscard]] const plugin::Samples& samples() const { return samples_; }
  // The loss throws Interrupted after an interrupt, because a plain step has no scope that could;
  // but not where FinishSteps is on.
  [[nodiscard]] train::Criterion loss() const;
  // The same, for a test set.
  [[nodiscard]] train::Criterion test_loss() const;
  [[nodiscard]] std::int64_t class_dim() const { return definition_.class_dim; }
  [[nodiscard]] double learning_rate() const;
  [[nodiscard]] double weight_decay() const;
  [[nodiscard]] std::string optimizer_name() const;

 private:
  static train::Criterion stoppable(train::Criterion loss);
  [[nodiscard]] std::string own_optimizer() const;  // for when the command line names none

  const RunOptions& options_;
  plugin::Definition definition_;
  plugin::Samples samples_;
  std::string origin_;  // origin of the samples, for messages
};

}  // namespace neap::app
