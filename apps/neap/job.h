// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A model with its loss and optimizer, and the batches that it learns from.
#pragma once

#include "command_line.h"

#include <neap/data.h>
#include <neap/train.h>

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace neap::app {

struct Job {
  std::shared_ptr<torch::nn::Module> model;
  std::function<at::Tensor(const at::Tensor&)> forward;  // (B, 1, 28, 28) -> (B, 10)
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  train::Loss loss;
};

// Seeds LibTorch's generator, so that two jobs of the same options are the same.
// `side`: height and width of a picture.
Job make_job(const TrainingOptions& options, std::int64_t side);

struct Batch {
  at::Tensor x;  // (B, 1, H, W) float, mean 0 and deviation 1 over Fashion-MNIST
  at::Tensor y;  // (B,) int64
};

// Goes through labeled pictures, in another order each epoch. Its generator is its own: drawing from LibTorch's
// would change the dropout of the model.
class Batches {
 public:
  Batches(data::Labeled labeled, std::int64_t batch_size, std::int64_t seed, bool shuffle);
  void start_epoch();
  [[nodiscard]] std::int64_t per_epoch() const;
  // REQUIRES: 0 <= index < per_epoch().
  [[nodiscard]] Batch at(std::int64_t index) const;

 private:
  data::Labeled labeled_;
  std::int64_t batch_size_;
  bool shuffle_;
  std::mt19937_64 random_;
  std::vector<std::int64_t> order_;
};

// Noise with labels, for a proof that needs no data.
Batch random_batch(std::int64_t rows, std::int64_t side, std::uint64_t seed);

}  // namespace neap::app
