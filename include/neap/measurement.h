// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/measurement.h: how models are trained while they are measured, and what is measured.
//
//   neap::analysis::TrainingOptions options{.warm_up = 2, .repetitions = 9};
//   options.optimizer = [](const torch::nn::Module& model) {
//     return std::make_shared<torch::optim::AdamW>(model.parameters());
//   };
//
// B: rows of a batch. Units: bytes, milliseconds; `items` are rows.
#pragma once

#include <neap/base.h>
#include <neap/model.h>

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace neap::analysis {

// ---- How models are trained while they are measured ----

using OptimizerMaker =
    std::function<std::shared_ptr<torch::optim::Optimizer>(const torch::nn::Module& model)>;
// sizes: (B, ...), the input of the model.
using BatchMaker = std::function<train::MicroBatch(at::IntArrayRef sizes)>;

// SGD with learning rate 0.01 and momentum 0.9.
NEAP_EXPORT std::shared_ptr<torch::optim::Optimizer> sgd(const torch::nn::Module& model);
// x: `sizes`, normal numbers from the default generator; y: (B,), zeros.
NEAP_EXPORT train::MicroBatch random_batch(at::IntArrayRef sizes);
// The mean of the squared output: a loss for any floating-point output. Ignores the target.
NEAP_EXPORT at::Tensor mean_square(const at::Tensor& output, const at::Tensor& target);

struct TrainingOptions {
  OptimizerMaker optimizer = sgd;
  BatchMaker batch = random_batch;
  train::Criterion loss = mean_square;
  std::int64_t warm_up = 1;      // steps before each measured one; 0 or more
  std::int64_t repetitions = 5;  // measured steps; 1 or more
  std::uint64_t seed = 1;        // of the default generator, set before batches and models are made
};

// ---- What was measured ----

struct Quartiles {
  double lower = 0, median = 0, upper = 0;
};
NEAP_EXPORT Quartiles quartiles_of(std::vector<double> values);

// Measurements of steps of one kind.
struct Measurement {
  std::string refusal = {};  // the error's message when it did not fit; empty: it fits
  Quartiles milliseconds = {};
  double items_per_second = 0;  // from the median
  double recompute_share = 0;   // share of the time inside replayed operators; median
  std::int64_t replays = 0;     // most operators run again in a step
  Bytes base = {};              // live before a step, without gradients
  Bytes peak_live = {};         // largest of all measured steps, base included
  Bytes peak_reserved = {};

  [[nodiscard]] bool fits() const { return refusal.empty(); }
};

enum class Quantity { Peak, Throughput };

}  // namespace neap::analysis
