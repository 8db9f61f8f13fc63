// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A model with its loss and optimizer, and the samples that it learns from.
#pragma once

#include "command_line.h"

#include <neap/data.h>
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

// The value of --budget. Throws: UsageError.
train::Budget parse_budget(const std::string& text);
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
  // For `samples` of --data. `options` must outlive the task.
  Task(const RunOptions& options, plugin::Definition definition, plugin::Samples samples,
       std::string source);

  // Throws: UsageError when the model cannot read such samples; what the library throws.
  [[nodiscard]] train::Model make_model(bool use_checkpoint = false) const;
  [[nodiscard]] std::unique_ptr<torch::optim::Optimizer> make_optimizer(
      const torch::nn::Module& model) const;
  // Seeds LibTorch's generator, so that two jobs of a task are the same.
  [[nodiscard]] Job make_job() const;
  // The library's own, or noise. Throws: Error when the library's has not so many rows.
  [[nodiscard]] train::MicroBatch make_batch(std::int64_t rows, std::uint64_t seed) const;
  // `other` where neither the command line nor the definition says it.
  [[nodiscard]] std::int64_t batch_size(std::int64_t named, std::int64_t other) const;

  [[nodiscard]] const plugin::Samples& samples() const { return samples_; }
  [[nodiscard]] const train::Criterion& loss() const { return definition_.loss; }
  [[nodiscard]] double learning_rate() const;

 private:
  [[nodiscard]] const std::string& optimizer_name() const;

  const RunOptions& options_;
  plugin::Definition definition_;
  plugin::Samples samples_;
  std::string source_;  // of the samples, for messages
};

}  // namespace neap::app
