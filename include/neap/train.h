// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/train.h: training inside a budget, and a comparison with the bits of plain LibTorch.
//
//   neap::install();
//   neap::nn::MLP model(neap::nn::MLPOptions{.in = 784, .out = 10});
//   torch::optim::AdamW optimizer(model->parameters());
//   neap::MemoryEfficientTrainer trainer(model, optimizer, /*batch_size=*/32,
//                                        /*accumulation_steps=*/4,
//                                        {.budget = neap::Bytes::parse("64MiB")});
//   for (const auto& epoch : trainer.fit(loader, /*epochs=*/3)) std::cout << epoch.loss << '\n';
//   std::cout << trainer.evaluate(test_loader).loss << '\n';
//
// A loader is anything that a range-based for can iterate over, with micro-batches as elements: see
// micro_batch().
//
// Guarantees: a group of micro-batches gives the gradient of the mean over all of its rows, for any
// number of micro-batches of any sizes. No micro-batch of a loader is left out. Each step runs in
// its own Scope, so its bits are those of plain LibTorch and its bytes stay inside the budget,
// including those that the loader allocates meanwhile.
//
// B: rows of a micro-batch. Units: bytes, milliseconds. Threads: a trainer belongs to one thread.
// Cost of a step in addition to its operators: a scope, and one small copy for each micro-batch.
#pragma once

#include <neap/checkpoint.h>
#include <neap/model.h>

#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/schedulers/lr_scheduler.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace neap::train {

// ---- One step ----

// Measurements of a step without neap.
struct PlainStep {
  Bytes base;  // reserved between steps, after a trim: parameters, buffers, optimizer state, data
  Bytes peak;  // `base`, plus the most that was live above it
  double milliseconds;  // median
};

// How much memory a step may take, as a user writes it: `none`, `1.5GiB`, `30%` of what a plain
// step needs above its base, or `auto`. `auto` is what the machine, or the container around it,
// leaves at the time of parse(), less the larger of a tenth of it and 64 MiB. That margin is for
// libraries, threads, and whatever else grows in the meantime.
class NEAP_EXPORT Budget {
 public:
  // For `auto`, it first gives the allocator's cache back to the system. Throws: InvalidArgument,
  // with the text and what is wrong with it. For `auto`: Error when nothing is left, or when it is
  // not known what is left.
  static Budget parse(std::string_view text);

  [[nodiscard]] bool is_share() const { return percent_ > 0; }
  // nullopt for `none`. Only a share uses `plain`.
  [[nodiscard]] std::optional<Bytes> bytes(const PlainStep& plain) const;

 private:
  std::optional<Bytes> bytes_;
  double percent_ = 0;
};

// torch::nn::utils::clip_grad_norm_ and clip_grad_value_, on the parameters of the optimizer.
struct ClipNorm {
  double max;
  double type = 2;  // of the norm
};
struct ClipValue {
  double max;
};
using Clip = std::variant<std::monostate, ClipNorm, ClipValue>;

// The learning rate of each step. A function is called before each step, with the number of
// optimizer steps done, from 0. A scheduler of LibTorch is stepped after each.
using Schedule = std::variant<std::monostate, std::function<double(std::int64_t step)>,
                              torch::optim::LRScheduler*>;

struct TrainerOptions {
  // Absent: no limit. Budget::bytes() makes one from a user's text.
  std::optional<Bytes> budget = {};
  bool plain = false;  // no scope: LibTorch as it is
  Clip clip = {};
  Schedule schedule = {};
  PlanMode policy = Planned{};          // of each step's scope
  std::optional<Offload> offload = {};  // as Options::offload, of each step's scope
  bool verify = false;                  // as Options::verify, of each step's scope
  // Of a training that goes on: see neap/snapshot.h. Steps and the schedule count from here.
  std::int64_t steps_done = 0;
};

struct StepResult {
  double loss = 0;                           // mean over the rows
  std::int64_t step = 0;                     // its number, from 1
  std::int64_t samples = 0;                  // rows
  std::int64_t micro_batches = 0;            // number of them
  std::optional<double> gradient_norm = {};  // before clipping; with ClipNorm only
  Bytes peak;                                // `reserved` with neap, `live` for a plain step
  double milliseconds = 0;
  Stats stats;  // zeros for a plain step
};

// A loss, or with ClipNorm the norm of the gradient, is infinite or NaN. Parameters and optimizer
// state are as before the step, and there are no gradients. What the forward itself updates, as
// BatchNorm's statistics, is not restored.
class NEAP_EXPORT NonFinite : public Error {
 public:
  NonFinite(const std::string& text, std::int64_t step, std::int64_t micro_batch, double value);
  ~NonFinite() override;
  std::int64_t step;         // from 1
  std::int64_t micro_batch;  // the first such, from 1; 0 when the norm is not finite
  double value;
};

// Runs zero_grad, forward and backward of each micro-batch, clipping and the optimizer step, in one
// Scope for each step. Losses are read once a step, not once a micro-batch, because reading waits
// for the device.
// The first steps are decided online. To plan them, neap would have to watch a plain step, which
// exceeds the budget, so a trainer never does that by itself. If there is memory for a plain step,
// call measure_plain() or plan_ahead() before, with a separate model.
class NEAP_EXPORT Trainer {
 public:
  // `optimizer`, and a scheduler in the options, must outlive the trainer.
  // Throws: InvalidArgument for a clipping limit that is not above 0, an empty schedule, a budget
  // with `plain`, or less than 0 steps done.
  Trainer(Loss loss, torch::optim::Optimizer& optimizer, TrainerOptions options = {});

  // x: (B, ...), y: (B, ...), split into `parts` micro-batches whose sizes differ by at most one.
  // Throws: InvalidArgument when parts is not in [1, B], for a loss that is not a scalar or depends
  // on no parameter, or for a learning rate that is not finite or negative; NonFinite; Interrupted;
  // BudgetExceeded. When BudgetExceeded comes from the forward or the backward, parameters and
  // optimizer state are unchanged.
  StepResult step(const at::Tensor& x, const at::Tensor& y, std::int64_t parts = 1);

  // Takes the next micro-batches of `pass`, at most `most`. nullopt when there is none left;
  // nothing has changed then.
  // `samples`: the expected number of rows in all of them. If that is right, weighing each loss by
  // its share before its backward is enough; else the sum of the gradients is corrected at the end.
  // Throws: as above; InvalidArgument when `most` or `samples` is below 1; what the loader throws.
  std::optional<StepResult> step(Pass& pass, std::int64_t most, std::int64_t samples);

 private:
  std::optional<StepResult> run(Pass& pass, std::int64_t most, std::int64_t samples);
  void update(StepResult& result);

  Loss loss_;
  torch::optim::Optimizer& optimizer_;
  TrainerOptions options_;
  std::int64_t steps_;
};

// Runs six plain steps on (x, y). The first makes the optimizer's state. The first two are watched,
// as by plan_ahead(), so a trainer with a budget that does the same steps follows a plan from its
// first step on. Bytes are measured in the third step, time in the last three, which reuse the
// memory of those before. The steps change the model: use a separate one.
// Throws: what the steps throw; ScopeConflict when a scope is open.
NEAP_EXPORT PlainStep measure_plain(const Loss& loss, torch::optim::Optimizer& optimizer,
                                    const at::Tensor& x, const at::Tensor& y,
                                    std::int64_t accumulate = 1);

// ---- What a step leaves ----

// Everything that a step leaves behind, as bytes: loss, parameters, gradients, buffers, optimizer
// state, generator. Stored outside of LibTorch's memory, so that it does not count against a
// budget.
class NEAP_EXPORT State {
 public:
  struct Part {
    std::string name;
    std::int64_t item_bytes;  // of one element
    std::vector<std::byte> bytes;
  };
  // Supports the state of SGD, Adam, AdamW, RMSprop and Adagrad. Throws: InvalidArgument for other
  // optimizers, with the parameter.
  static State of(const torch::nn::Module& model, const torch::optim::Optimizer& optimizer,
                  double loss);

  [[nodiscard]] std::int64_t bytes() const;
  [[nodiscard]] std::int64_t parts() const { return static_cast<std::int64_t>(parts_.size()); }

  struct Difference {
    std::string name;
    std::int64_t index;           // of the first different element; -1: sizes differ
    std::string expected, found;  // hexadecimal, most significant digit first
  };
  [[nodiscard]] std::optional<Difference> first_difference(const State& other) const;

  // Serialized for another process of the same machine.
  // Throws: unpacked() InvalidArgument, for bytes that packed() did not make.
  [[nodiscard]] std::string packed() const;
  static State unpacked(std::string_view bytes);

 private:
  std::vector<Part> parts_;
};

// ---- Many steps ----

// The result of a pass over a loader.
struct PassResult {
  double loss = 0;  // mean over the rows
  std::int64_t samples = 0;
  std::int64_t micro_batches = 0;
  std::int64_t steps = 0;  // of the optimizer
  Bytes peak;              // the largest of all steps
  double milliseconds = 0;
  Stats stats;  // sums over the steps; maxima of peaks
};

// For a progress line, after each optimizer step of fit().
struct Progress {
  StepResult last;                     // the step just done
  std::int64_t epoch = 0, epochs = 0;  // the current one, from 1, and how many
  std::int64_t done = 0;               // steps of this fit()
  // Steps in all. Absent in the first epoch when the loader does not know its size.
  std::optional<std::int64_t> steps;
  double samples_per_second = 0;       // since fit() began
  std::optional<double> seconds_left;  // absent when `steps` is
  std::optional<double> budget_share;  // peak of the step divided by the budget
};

}  // namespace neap::train

namespace neap {

// Trains a model with groups of micro-batches.
class NEAP_EXPORT MemoryEfficientTrainer {
 public:
  // `batch_size`: most rows of a micro-batch. `accumulation_steps`: most micro-batches of an
  // optimizer step.
  // `loss`: of the model's output and the target, the mean over the rows.
  // `optimizer`, and a scheduler in the options, must outlive the trainer. The model trains in its
  // current mode.
  // Throws: InvalidArgument when batch_size or accumulation_steps is below 1, when the optimizer
  // holds none of the model's parameters, when `loss` is empty, and as train::Trainer.
  MemoryEfficientTrainer(train::Model model, torch::optim::Optimizer& optimizer,
                         std::int64_t batch_size, std::int64_t accumulation_steps = 4,
                         train::TrainerOptions options = {},
                         train::Criterion loss = train::cross_entropy);

  // One optimizer step on the next `accumulation_steps` micro-batches of a pass, or on the fewer
  // that are left. nullopt when there is none; nothing has changed then:
  //   neap::train::Pass pass(loader);
  //   while (const auto step = trainer.step(pass)) std::cout << step->loss << '\n';
  // Throws: as train::Trainer::step(); InvalidArgument for a micro-batch without rows or with more
  // than batch_size.
  std::optional<train::StepResult> step(train::Pass& pass);

  // One pass over the loader, with an optimizer step for each group of micro-batches: fit() of one
  // epoch.
  template <train::Loader Range>
  train::PassResult train_epoch(Range&& loader) {
    return fit(loader, 1).front();
  }
  // The name on the slides. Here the loss is the mean over the rows; theirs is the sum over the
  // micro-batches.
  template <train::Loader Range>
  train::PassResult train_step(Range&& loader) {
    return train_epoch(loader);
  }
  template <std::same_as<train::Pass> Single>
  void train_step(Single& /*pass*/) {
    static_assert(!std::same_as<Single, train::Pass>,
                  "train_step() goes over a whole loader, as on slides; for one optimizer step on "
                  "the next micro-batches of a neap::train::Pass call step(pass)");
  }

  // Passes over the loader, one for each epoch, with one result each. `on_step` is called after
  // each optimizer step, outside of the step's scope. An exception of it ends the training.
  // Throws: as step(); InvalidArgument when epochs is below 1, or when the loader is empty in an
  // epoch.
  template <train::Loader Range>
  std::vector<train::PassResult> fit(
      Range&& loader, std::int64_t epochs,
      const std::function<void(const train::Progress&)>& on_step = {}) {
    return fit_passes([&] { return train::Pass(loader); }, epochs, on_step);
  }

  // The mean of the loss, or of another measure, over the rows of the loader: without gradients, in
  // evaluation mode, inside the budget. Each module's mode is restored, also after an exception.
  // Throws: as step().
  template <train::Loader Range>
  train::PassResult evaluate(Range&& loader) {
    return evaluate_pass(train::Pass(loader), criterion_);
  }
  template <train::Loader Range>
  train::PassResult evaluate(Range&& loader, const train::Criterion& measure) {
    return evaluate_pass(train::Pass(loader), measure);
  }

 private:
  std::vector<train::PassResult> fit_passes(
      const std::function<train::Pass()>& begin, std::int64_t epochs,
      const std::function<void(const train::Progress&)>& on_step);
  train::PassResult evaluate_pass(train::Pass pass, const train::Criterion& measure);
  at::Tensor output_of(const at::Tensor& x) const;

  train::Model model_;
  train::Criterion criterion_;
  std::int64_t batch_size_;
  std::int64_t accumulation_steps_;
  train::TrainerOptions options_;
  train::Trainer trainer_;
};

}  // namespace neap
