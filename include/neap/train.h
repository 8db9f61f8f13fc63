// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/train.h: training inside a budget, and the proof that it has the bits of plain LibTorch.
//
//   neap::install();
//   neap::nn::MLP model(neap::nn::MLPOptions{.in = 784, .out = 10});
//   torch::optim::AdamW optimizer(model->parameters());
//   neap::MemoryEfficientTrainer trainer(model, optimizer, /*batch_size=*/32, /*accumulation_steps=*/4,
//                                        {.budget = neap::Bytes::parse("64MiB")});
//   for (const auto& epoch : trainer.fit(loader, /*epochs=*/3)) std::cout << epoch.loss << '\n';
//   std::cout << trainer.evaluate(test_loader).loss << '\n';
//
// A loader is anything that a range-based for goes through, whose elements are micro-batches: see micro_batch().
//
// Guarantees: a group of micro-batches gives the gradient of the mean over all of its rows, however many there are of
// them and of how many rows each; no micro-batch of a loader is left out; each step runs in a Scope of its own, so its
// bits are those of plain LibTorch and its bytes stay inside the budget, those that the loader makes meanwhile too.
//
// B: rows of a micro-batch. Units: bytes, milliseconds. Threads: a trainer belongs to one thread. Cost of a step above
// its operators: a scope, and one small copy a micro-batch.
#pragma once

#include <neap/checkpoint.h>

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

// ---- What goes in ----

// x: (B, ...), y: (B, ...). Returns a scalar, the mean over the rows.
using Loss = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& y)>;
// output: (B, ...), what the model returns; target: (B, ...). Returns a scalar, the mean over the rows.
using Criterion = std::function<at::Tensor(const at::Tensor& output, const at::Tensor& target)>;
// LibTorch's own. output: (B, classes, ...); target: (B, ...) int64, or (B, classes, ...).
NEAP_EXPORT at::Tensor cross_entropy(const at::Tensor& output, const at::Tensor& target);

// A module, and how to call it.
class NEAP_EXPORT Model {
 public:
  // A module holder, as neap::nn::ResNet or torch::nn::Sequential, or a shared pointer to a module, whose forward takes x
  // and returns the output. It is shared.
  template <class Module>
  requires requires(Module& module, const at::Tensor& x) {
    { module->forward(x) } -> std::convertible_to<at::Tensor>;
    static_cast<torch::nn::Module&>(*module);
  }
  Model(Module module)  // NOLINT(google-explicit-constructor): who takes a model takes a module
      : Model(held_by(module),
              [module](const at::Tensor& x) mutable -> at::Tensor { return module->forward(x); }) {}
  // A module that is no holder, as one on the stack. It must outlive the model.
  template <std::derived_from<torch::nn::Module> Module>
  requires requires(Module& module, const at::Tensor& x) {
    { module.forward(x) } -> std::convertible_to<at::Tensor>;
  }
  Model(Module& module)  // NOLINT(google-explicit-constructor): as above
      : module_(&module),
        forward_([&module](const at::Tensor& x) -> at::Tensor { return module.forward(x); }) {}
  // `module` must outlive the model. Throws: InvalidArgument when `forward` is empty, and above when the holder is.
  Model(torch::nn::Module& module, std::function<at::Tensor(const at::Tensor& x)> forward);

  [[nodiscard]] torch::nn::Module& module() const { return *module_; }
  [[nodiscard]] at::Tensor forward(const at::Tensor& x) const { return forward_(x); }

 private:
  template <class Module>
  static torch::nn::Module& held_by(Module& module) {
    if (!module) refuse_empty();
    return *module;
  }
  [[noreturn]] static void refuse_empty();

  torch::nn::Module* module_;
  std::function<at::Tensor(const at::Tensor&)> forward_;
};

// Rows that go through the model at once.
struct MicroBatch {
  at::Tensor x;  // (B, ...)
  at::Tensor y;  // (B, ...)
};

namespace detail {
// Throws: InvalidArgument when there are not two of them.
NEAP_EXPORT MicroBatch both_of(const std::vector<at::Tensor>& tensors);
}  // namespace detail

// An element of a loader as a micro-batch: what converts to one, a struct with x and y, one with data and target as
// torch::data::Example, one with two tensors as data::Batch, a pair.
template <class Element>
MicroBatch micro_batch(const Element& element) {
  if constexpr (std::convertible_to<const Element&, MicroBatch>) {
    return element;
  } else if constexpr (requires { MicroBatch{element.x, element.y}; }) {
    return {element.x, element.y};
  } else if constexpr (requires { MicroBatch{element.data, element.target}; }) {
    return {element.data, element.target};
  } else if constexpr (requires { detail::both_of(element.tensors); }) {
    return detail::both_of(element.tensors);
  } else {
    static_assert(
        requires {
          MicroBatch{element.first, element.second};
        },
        "a loader's elements are pairs of tensors, have tensors x and y, data and target, or a "
        "list of two, or convert to neap::train::MicroBatch");
    return {element.first, element.second};
  }
}

template <class T>
concept Loader = requires(T& loader) {
  std::begin(loader) != std::end(loader);
  *std::begin(loader);
};

// One way through a loader, from its beginning to its end; it remembers where it is. It begins when the first element is asked
// for, and asks for each when its turn comes. The loader must outlive it.
class Pass {
 public:
  template <Loader Range>
  explicit Pass(Range& loader) : source_(std::make_unique<Elements<Range>>(loader)) {
    if constexpr (requires { loader.batches(); }) {
      size_ = static_cast<std::int64_t>(loader.batches());
    } else if constexpr (requires { std::size(loader); }) {
      size_ = static_cast<std::int64_t>(std::size(loader));
    }
  }
  // Absent at the end. Throws what the loader throws.
  std::optional<MicroBatch> next() { return source_->next(); }
  // Micro-batches of a whole pass; absent when the loader has neither batches() nor size().
  [[nodiscard]] std::optional<std::int64_t> size() const { return size_; }

 private:
  struct Source {
    Source() = default;
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
    virtual ~Source() = default;
    virtual std::optional<MicroBatch> next() = 0;
  };
  template <class Range>
  struct Elements final : Source {
    explicit Elements(Range& range) : loader(range) {}
    std::optional<MicroBatch> next() override {
      if (!at) {
        at.emplace(std::begin(loader));
      } else if (*at != std::end(loader)) {
        ++*at;  // not before: it may wait, and may drop the batch that is in use
      }
      return *at != std::end(loader) ? std::optional(micro_batch(**at)) : std::nullopt;
    }
    Range& loader;
    std::optional<decltype(std::begin(std::declval<Range&>()))> at;
  };

  std::unique_ptr<Source> source_;
  std::optional<std::int64_t> size_;
};

// ---- One step ----

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

// torch::nn::utils::clip_grad_norm_ and clip_grad_value_, on the parameters of the optimizer.
struct ClipNorm {
  double max;
  double type = 2;  // of the norm
};
struct ClipValue {
  double max;
};
using Clip = std::variant<std::monostate, ClipNorm, ClipValue>;

// The learning rate of each step: a function of the number of optimizer steps done before, from 0, asked before each;
// or a scheduler of LibTorch, stepped after each.
using Schedule = std::variant<std::monostate, std::function<double(std::int64_t step)>,
                              torch::optim::LRScheduler*>;

struct TrainerOptions {
  // Absent: no limit. Budget::bytes() makes one of what a person says.
  std::optional<Bytes> budget = {};
  bool plain = false;  // no scope at all: LibTorch as it is
  Clip clip = {};
  Schedule schedule = {};
  Policy policy = Planned{};  // of the scope of each step
};

struct StepResult {
  double loss = 0;                           // mean over the rows
  std::int64_t step = 0;                     // its number, from 1
  std::int64_t samples = 0;                  // rows
  std::int64_t micro_batches = 0;            // that had them
  std::optional<double> gradient_norm = {};  // before clipping; with ClipNorm only
  Bytes peak;                                // reserved with neap, live without
  double milliseconds = 0;
  Stats stats;  // zeros for a plain step
};

// A loss, or with ClipNorm the norm of the gradient, is infinite or no number. Parameters and optimizer state are as they were
// before the step, and there are no gradients; what the forward itself updates, as BatchNorm's statistics, is not.
class NEAP_EXPORT NonFinite : public Error {
 public:
  NonFinite(const std::string& text, std::int64_t step, std::int64_t micro_batch, double value);
  ~NonFinite() override;
  std::int64_t step;         // from 1
  std::int64_t micro_batch;  // the first such, from 1; 0 when it is the norm
  double value;
};

// zero_grad, forward and backward of each micro-batch, clipping, optimizer step, in a Scope of their own. Losses are read
// once a step, not once a micro-batch: reading waits for the device.
// The first steps go on line. To plan them, neap would have to watch a plain step, which passes the budget, so a trainer never does
// that by itself. Where there is room for one, call measure_plain() or plan_ahead() before, with a model of its own.
class NEAP_EXPORT Trainer {
 public:
  // `optimizer`, and a scheduler in the options, must outlive the trainer.
  // Throws: InvalidArgument for a limit to clip at that is not above 0, a null scheduler, a budget with `plain`.
  Trainer(Loss loss, torch::optim::Optimizer& optimizer, TrainerOptions options = {});

  // x: (B, ...), y: (B, ...), cut into `parts` micro-batches, whose sizes differ by one at most.
  // Throws: InvalidArgument when parts is not in [1, B], for a loss that is no scalar or depends on no parameter, or for a rate of
  // the schedule that is no number; NonFinite; Interrupted; BudgetExceeded, with parameters and optimizer state as they were when it
  // comes from the forward or the backward.
  StepResult step(const at::Tensor& x, const at::Tensor& y, std::int64_t parts = 1);

  // The next micro-batches of `pass`, `most` at most; absent when there is none left, and then nothing is changed.
  // `samples`: the rows that they are expected to have in all. When they have, each loss is weighed by its share before its
  // backward and that is all; else the sum of the gradients is corrected at the end.
  // Throws: as above; InvalidArgument when `most` or `samples` is below 1; what the loader throws.
  std::optional<StepResult> step(Pass& pass, std::int64_t most, std::int64_t samples);

 private:
  std::optional<StepResult> run(Pass& pass, std::int64_t most, std::int64_t samples);
  void update(StepResult& result);

  Loss loss_;
  torch::optim::Optimizer& optimizer_;
  TrainerOptions options_;
  std::int64_t steps_ = 0;
};

// Runs six plain steps on (x, y). The first makes the optimizer's state; the first two are watched, as by plan_ahead(), so a trainer
// with a budget that does the same steps follows a plan from its first one on. Bytes are measured in the third, time in the last
// three, with the memory of those before. They change the model: measure with one of its own.
// Throws: what the steps throw; ScopeConflict when a scope is open.
NEAP_EXPORT PlainStep measure_plain(const Loss& loss, torch::optim::Optimizer& optimizer,
                                    const at::Tensor& x, const at::Tensor& y,
                                    std::int64_t accumulate = 1);

// ---- What a step leaves ----

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

  // As bytes for another process of the same machine. Throws, unpacked(): InvalidArgument for bytes that packed() did not make.
  [[nodiscard]] std::string packed() const;
  static State unpacked(std::string_view bytes);

 private:
  std::vector<Part> parts_;
};

// ---- Many steps ----

// What happened in a pass over a loader.
struct PassResult {
  double loss = 0;  // mean over the rows
  std::int64_t samples = 0;
  std::int64_t micro_batches = 0;
  std::int64_t steps = 0;  // of the optimizer
  Bytes peak;              // the largest of a step
  double milliseconds = 0;
  Stats stats;  // sums over the steps; peaks are the largest
};

// For a progress line, after each optimizer step of fit().
struct Progress {
  StepResult last;                     // the step just done
  std::int64_t epoch = 0, epochs = 0;  // this one, from 1, and how many
  std::int64_t done = 0;               // steps of this fit()
  std::optional<std::int64_t>
      steps;  // in all; absent until the first epoch is over when the loader does not know its size
  double samples_per_second = 0;       // since fit() began
  std::optional<double> seconds_left;  // as `steps`
  std::optional<double> budget_share;  // peak of the step over the budget
};

}  // namespace neap::train

namespace neap {

// Trains a model by groups of micro-batches.
class NEAP_EXPORT MemoryEfficientTrainer {
 public:
  // `batch_size`: rows of a micro-batch, at most. `accumulation_steps`: micro-batches of an optimizer step, at most.
  // `loss`: of the model's output and the target, the mean over the rows.
  // `optimizer`, and a scheduler in the options, must outlive the trainer. The model trains in the mode that it is in.
  // Throws: InvalidArgument when batch_size or accumulation_steps is below 1, when the optimizer holds none of the model's
  // parameters, when `loss` is empty, and as train::Trainer.
  MemoryEfficientTrainer(train::Model model, torch::optim::Optimizer& optimizer,
                         std::int64_t batch_size, std::int64_t accumulation_steps = 4,
                         train::TrainerOptions options = {},
                         train::Criterion loss = train::cross_entropy);

  // One optimizer step on the next `accumulation_steps` micro-batches of a pass, or on the fewer that are left; absent when
  // there is none, and then nothing is changed:
  //   neap::train::Pass pass(loader);
  //   while (const auto step = trainer.step(pass)) std::cout << step->loss << '\n';
  // Throws: as train::Trainer::step(); InvalidArgument for a micro-batch without rows or with more than batch_size.
  std::optional<train::StepResult> step(train::Pass& pass);

  // A pass over the loader, as many optimizer steps as it has groups of micro-batches: fit() of one epoch.
  template <train::Loader Range>
  train::PassResult train_epoch(Range&& loader) {
    return fit(loader, 1).front();
  }
  // The name that slides have for it. The loss is the mean over the rows, where theirs is the sum over the micro-batches.
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

  // Whole passes over the loader, one an epoch: one result each. `on_step` is called after each optimizer step, outside
  // of the step's scope; what it throws ends the training.
  // Throws: as step(); InvalidArgument when epochs is below 1, or when the loader has nothing in an epoch.
  template <train::Loader Range>
  std::vector<train::PassResult> fit(
      Range&& loader, std::int64_t epochs,
      const std::function<void(const train::Progress&)>& on_step = {}) {
    return fit_passes([&] { return train::Pass(loader); }, epochs, on_step);
  }

  // The mean of the loss, or of another measure, over the rows of the loader: without gradients, in evaluation mode, inside the
  // budget. Each module's mode is put back, also when something throws.
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
