// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A model with its loss and optimizer, and the samples that it learns from.
#pragma once

#include "command_line.h"

#include <neap/data.h>
#include <neap/train.h>

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace neap::app {

// What a model reads and tells apart.
struct Problem {
  std::vector<std::int64_t> shape;  // of a sample: (C, H, W), or (T,) of tokens
  std::int64_t classes = 0;
  std::int64_t vocabulary = 0;  // 0: samples are no tokens
};

// What a model is given where no data is named. `shape`: empty takes the model's own.
// Throws: UsageError when `shape` is none that the model reads.
Problem default_problem(const std::string& model, std::vector<std::int64_t> shape);

// Throws: UsageError when the model cannot read such samples; `source`, what they come from, is in the message.
void check_fits(const std::string& model, const Problem& problem, const std::string& source);

// use_checkpoint: each block under a checkpoint. Draws the same random numbers either way.
train::Model make_model(const std::string& name, const Problem& problem,
                        bool use_checkpoint = false);
std::unique_ptr<torch::optim::Optimizer> make_optimizer(const RunOptions& options,
                                                        const torch::nn::Module& model);

// scores: (B, classes), or (B, T, classes) of tokens; labels: (B,), or (B, T). Returns the mean over all labels.
at::Tensor cross_entropy(const at::Tensor& scores, const at::Tensor& labels);

struct Job {
  train::Model model;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  train::Loss loss;
};

// Seeds LibTorch's generator, so that two jobs of the same options are the same.
Job make_job(const RunOptions& options, const Problem& problem);

// data::open(). Throws: UsageError where that says what is wrong with the text.
data::Splits open_data(const std::string& spec);

// Noise with labels, for what needs no data.
train::MicroBatch random_batch(std::int64_t rows, const Problem& problem, std::uint64_t seed);

}  // namespace neap::app
