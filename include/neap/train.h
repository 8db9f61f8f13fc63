// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/train.h: training steps inside a budget, and the proof that they have the bits of plain ones.
//
//   neap::install();
//   const neap::train::Loss loss = [&](const at::Tensor& x, const at::Tensor& y) {
//     return torch::cross_entropy_loss(model->forward(x), y);
//   };
//   const auto plain = neap::train::measure_plain(loss, optimizer, x, y);  // what the step needs by itself
//   const auto share = neap::train::Budget::parse("30%");
//   neap::train::Trainer trainer(loss, optimizer, {.budget = share.bytes(plain), .accumulate = 4});
//   const auto step = trainer.step(x, y);
//   std::cout << step.loss << ' ' << step.peak.text() << '\n';
//
// B: pictures in a batch. Units: bytes, milliseconds. Threads: a trainer belongs to one thread.
#pragma once

#include <neap/checkpoint.h>

#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace neap::train {

// x: (B, ...), y: (B, ...). Returns a scalar, the mean over the batch.
using Loss = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& y)>;

// What a step needs without neap.
struct PlainStep {
  Bytes base;  // reserved between steps, after a trim: parameters, buffers, optimizer state, data
  Bytes peak;  // and what is live above it, at most
  double milliseconds;  // median
};

// How much a step may take, as a person says it: `none`, `1.5GiB`, or `30%` of what a plain step needs above its base.
class NEAP_EXPORT Budget {
 public:
  // Throws: InvalidArgument, with the text and what is wrong with it.
  static Budget parse(std::string_view text);

  [[nodiscard]] bool is_share() const { return percent_ > 0; }
  // Absent for `none`. `plain` is used by a share only.
  [[nodiscard]] std::optional<Bytes> bytes(const PlainStep& plain) const;

 private:
  std::optional<Bytes> bytes_;
  double percent_ = 0;
};

struct TrainerOptions {
  std::optional<Bytes> budget = {};  // absent: no limit
  // The batch is cut into this many parts; their gradients add up to the batch's. 1 is the whole batch at once.
  std::int64_t accumulate = 1;
  bool plain = false;  // no scope at all: LibTorch as it is
};

struct StepResult {
  double loss = 0;  // mean over the batch
  Bytes peak;       // reserved with neap, live without
  double milliseconds = 0;
  Stats stats;  // zeros for a plain step
};

// zero_grad, forward, backward, optimizer step; each step in a Scope of its own.
class NEAP_EXPORT Trainer {
 public:
  // `optimizer` must outlive the trainer. Throws: InvalidArgument when accumulate < 1.
  Trainer(Loss loss, torch::optim::Optimizer& optimizer, TrainerOptions options);
  // x: (B, ...), y: (B, ...), B >= accumulate.
  // Throws: BudgetExceeded, with parameters and optimizer state as they were when it comes from the forward or the
  // backward; Interrupted.
  StepResult step(const at::Tensor& x, const at::Tensor& y);

 private:
  double run(const at::Tensor& x, const at::Tensor& y);

  Loss loss_;
  torch::optim::Optimizer& optimizer_;
  TrainerOptions options_;
};

// Runs a few plain steps on (x, y) and measures the later ones: the first makes the optimizer's state. They change the
// model: measure with one of its own.
NEAP_EXPORT PlainStep measure_plain(const Loss& loss, torch::optim::Optimizer& optimizer,
                                    const at::Tensor& x, const at::Tensor& y,
                                    std::int64_t accumulate = 1);

// Everything that a step leaves behind, as bytes: loss, parameters, gradients, buffers, optimizer state, generator.
// Kept outside of LibTorch's memory, so that holding one takes nothing from a budget.
class NEAP_EXPORT State {
 public:
  struct Part {
    std::string name;
    std::int64_t item_bytes;  // of one element
    std::vector<std::byte> bytes;
  };
  // Knows the state of SGD, Adam and AdamW. Throws: InvalidArgument for other optimizers, with what it has met.
  static State of(const torch::nn::Module& model, const torch::optim::Optimizer& optimizer,
                  double loss);

  [[nodiscard]] std::int64_t bytes() const;
  [[nodiscard]] std::int64_t parts() const { return static_cast<std::int64_t>(parts_.size()); }

  struct Difference {
    std::string name;
    std::int64_t index;           // of the first element that differs; -1: sizes differ
    std::string expected, found;  // hexadecimal, as numbers are written
  };
  [[nodiscard]] std::optional<Difference> first_difference(const State& other) const;

 private:
  std::vector<Part> parts_;
};

}  // namespace neap::train
