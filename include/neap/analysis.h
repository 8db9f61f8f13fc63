// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/analysis.h: the memory and time that training a model takes, and how checkpointing changes
// them.
//
//   neap::install();
//   neap::nn::ResNet model(neap::nn::ResNetOptions{});
//   std::cout << neap::analyze_memory_usage(model, {3, 32, 32}, /*batch_size=*/32).text();
//   std::cout << neap::estimate_memory_usage(model, {3, 32, 32}, /*batch_size=*/32).text();
//   neap::PerformanceAnalyzer analyzer(model, {3, 32, 32}, {8, 16, 32});
//   std::cout << analyzer.analyze().text();
//
//   neap::GradientCheckpointBenchmark benchmark(
//       [](bool use_checkpoint) { return neap::CheckpointedModel(use_checkpoint); },
//       {512}, {32, 64, 128}, {.budgets = {"50%"}});
//   const auto result = benchmark.run_benchmark();
//   std::cout << result.text();
//   std::ofstream("peaks.svg") << result.svg(neap::analysis::Quantity::Peak);
//
// A measured step is zero_grad, forward, loss, backward, optimizer, after warm-up steps that are
// not counted. Peaks are exact, from the allocator, and of the whole process: they and `base`
// include what else the program holds. Times are wall-clock: medians and quartiles over turns, each
// of which runs everything that is compared once, in one process.
//
// B: rows of a batch. Units: bytes, milliseconds; `items` are rows. Threads: one thread at a time
// measures; allocations of other threads are counted too. LibTorch's default generator is restored
// after a measurement.
#pragma once

#include <neap/measurement.h>
#include <neap/memory.h>
#include <neap/report.h>
#include <neap/train.h>

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap {

namespace analysis {

// ---- Memory by kind ----

enum class OptimizerKind { SGD, Momentum, Adam, AdamAMSGrad, AdamW, AdamWAMSGrad };

// For MemoryTracker::set_categories(): parameters, gradients, optimizer state and buffers, each
// storage once. Both arguments must outlive the callback. It supports the state of SGD, Adam,
// AdamW, RMSprop and Adagrad, and throws InvalidArgument for others.
NEAP_EXPORT std::function<MemoryTracker::Categories()> categories_of(
    const torch::nn::Module& model, const torch::optim::Optimizer& optimizer);

struct LayerUsage {
  std::string name = {};                  // as in named_modules(); empty: the model itself
  std::string kind = {};                  // Linear, Conv2d
  std::vector<std::int64_t> output = {};  // sizes, with the batch; empty: unknown
  std::int64_t parameters = 0;
  std::int64_t buffers = 0;
  std::int64_t gradients = 0;
  std::int64_t optimizer_states = 0;
  std::int64_t activations = 0;  // kept for the backward, first by this layer
  std::int64_t temporaries = 0;  // additional bytes that its backward holds at once
};

}  // namespace analysis

// What a training step holds. Estimated: in bytes of tensors, without the allocator's rounding.
// Measured: in bytes of the allocator, with rounding and headers, so that they add up to its
// counts.
struct NEAP_EXPORT MemoryUsage {
  bool measured = false;  // from a step, or estimated without one
  std::int64_t batch_size = 0;
  std::int64_t input = 0;  // the batch that the model reads
  std::int64_t parameters = 0;
  std::int64_t buffers = 0;
  std::int64_t gradients = 0;
  std::string optimizer = {};  // the optimizer of these states, as "SGD with momentum"
  std::int64_t optimizer_states = 0;
  // Kept for the backward at the end of the forward, without the input.
  std::int64_t activations = 0;
  std::int64_t temporaries = 0;  // held at the peak, and none of the above
  std::int64_t peak = 0;         // of all of the above; measured: computed from the trace of a step
  std::int64_t allocator_peak = 0;  // the peak of a plain step, by the allocator; 0: not measured
  std::vector<analysis::LayerUsage> layers = {};
  // Layers whose activations are unknown, with their kinds.
  std::vector<std::string> unknown = {};
  // Where sizes did not follow from the layers before, as sentences.
  std::vector<std::string> assumed = {};
  // Estimated: the kernels whose scratch memory the temporaries include, as "oneDNN's for AVX-512,
  // 1 thread". Empty: measured.
  std::string kernels = {};

  // A table of the layers and one of the sums, followed by what is unknown.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::string to_json() const;
};

// Estimates what a training step will hold, without running anything. Parameters, buffers,
// gradients and optimizer state are exact. For activations, the modules are visited in the order of
// their registration, and each passes the sizes of its output to the next.
// Activations are known for LibTorch's Linear, convolutions (transposed ones too), Batch-,
// Instance-, Layer- and GroupNorm, ReLU, GELU, SiLU, Mish, Tanh, Sigmoid, Softmax, LogSoftmax,
// Softplus, LeakyReLU, ELU, ReLU6, Hardtanh, Dropout, Max-, Avg- and AdaptiveAvgPool, Flatten,
// Identity, Embedding, MultiheadAttention, GRU, LSTM and TransformerEncoderLayer, and for the
// models of neap/nn.h. They are exact to the byte, except the workspace of LSTM (10 %). In the
// tests peaks are at most 3 % off, that of LSTM 8 %.
// Scratch memory is counted for float convolutions, with oneDNN's kernels for AVX-512 or AVX2 that
// LibTorch would run now, in this thread; `kernels` names them.
// What the forward() of another module does besides calling its children (additions, torch::relu,
// skips, checkpoint()) is not seen; analyze_memory_usage() sees everything.
// input_size: of one item, without the batch. Layers that read integers get int64, others the type
// of their weights.
// The loss is assumed to keep the output. The step is assumed not to be the first, so its optimizer
// has a state. The default optimizer is that of analyze_memory_usage(), SGD with momentum.
// Throws: InvalidArgument when batch_size or an extent is below 1.
NEAP_EXPORT MemoryUsage estimate_memory_usage(
    const torch::nn::Module& model, const std::vector<std::int64_t>& input_size,
    std::int64_t batch_size, analysis::OptimizerKind optimizer = analysis::OptimizerKind::Momentum);
// The same for a module holder, or a pointer to a module.
template <class Holder>
requires requires(const Holder& model) { static_cast<const torch::nn::Module&>(*model); }
MemoryUsage estimate_memory_usage(
    const Holder& model, const std::vector<std::int64_t>& input_size, std::int64_t batch_size,
    analysis::OptimizerKind optimizer = analysis::OptimizerKind::Momentum) {
  return estimate_memory_usage(static_cast<const torch::nn::Module&>(*model), input_size,
                               batch_size, optimizer);
}

// Measures what a training step holds, from its trace (neap::trace_step), after steps that make the
// optimizer's state. Exact for any forward(). Activations are what the forward made and still lives
// at its end. Each belongs to the layer whose parameter its operator reads, or else to the layer
// before. Temporaries are the rest at the peak, with the scratch memory of operators.
// input_size: of one item, without the batch. The model's parameters, buffers and gradients are
// restored at the end; its parameters keep their names (neap::name_layers).
// Cost: max(options.warm_up, 1) + 2 steps.
// Throws: InvalidArgument when batch_size or an extent is below 1; ScopeConflict when a scope with
// a budget is open; what the model throws.
NEAP_EXPORT MemoryUsage analyze_memory_usage(const train::Model& model,
                                             const std::vector<std::int64_t>& input_size,
                                             std::int64_t batch_size,
                                             const analysis::TrainingOptions& options = {});

// ---- Plain, checkpointed and budgets side by side ----

namespace analysis {

// Shapes of one item each, without the batch: one, as {512} or {3, 224, 224}, or several, as
// {{512}, {256}}.
class InputShapes {
 public:
  // NOLINTBEGIN(google-explicit-constructor): shapes are written in braces
  InputShapes() = default;
  template <std::integral Extent>
  InputShapes(std::initializer_list<Extent> shape) : shapes_{{shape.begin(), shape.end()}} {}
  InputShapes(std::initializer_list<std::vector<std::int64_t>> shapes) : shapes_(shapes) {}
  InputShapes(std::vector<std::int64_t> shape) : shapes_{std::move(shape)} {}
  InputShapes(std::vector<std::vector<std::int64_t>> shapes) : shapes_(std::move(shapes)) {}
  // NOLINTEND(google-explicit-constructor)
  [[nodiscard]] const std::vector<std::vector<std::int64_t>>& all() const { return shapes_; }

 private:
  std::vector<std::vector<std::int64_t>> shapes_;
};

// Makes a model, with or without checkpointing inside. Both must draw the same numbers from the
// default generator.
using ModelFactory = std::function<train::Model(bool use_checkpoint)>;

struct BenchmarkOptions {
  TrainingOptions training = {};
  // For additional rows that train the model without checkpointing in a Scope: `30%`, `1.5GiB`, see
  // train::Budget.
  std::vector<std::string> budgets = {};
};

struct BenchmarkRow {
  std::vector<std::int64_t> input_shape = {};
  std::int64_t batch_size = 0;
  std::string variant = {};  // plain, checkpointed, or the text of a budget
  std::optional<Bytes> budget = {};
  Measurement step = {};
  Quartiles ratio = {};  // time divided by that of the plain step of the same turn
  // After each turn, loss, parameters, gradients, buffers, optimizer state and generator have the
  // same bytes as after the plain step.
  bool equal_bits = false;
  std::string difference = {};  // the first difference; empty: none
};

struct NEAP_EXPORT BenchmarkResult {
  std::vector<BenchmarkRow> rows = {};  // by shape, then batch, then variant

  [[nodiscard]] report::Table table() const;  // for people
  [[nodiscard]] std::string text() const { return table().text(); }
  [[nodiscard]] std::string csv() const;      // raw: bytes, milliseconds
  [[nodiscard]] std::string to_json() const;  // the same
  // By batch size, a line for each variant (and shape, if there are several), from rows that fit.
  [[nodiscard]] std::string svg(Quantity quantity) const;
};

}  // namespace analysis

// Trains fresh models of a factory: plain, checkpointed and inside budgets. Each turn runs every
// variant once, so that changes of the machine's load affect all of them. A model lives for its
// turn only, so it is not in the peak of another variant.
// Cost: (warm_up + 1) * (repetitions + 1) steps a row; the first turn is not counted.
class NEAP_EXPORT GradientCheckpointBenchmark {
 public:
  // Throws: InvalidArgument for no shape or batch, an extent below 1, an invalid budget,
  // repetitions below 1, warm_up below 0, or an empty function.
  GradientCheckpointBenchmark(analysis::ModelFactory model_factory,
                              const analysis::InputShapes& input_shapes,
                              std::vector<std::int64_t> batch_sizes,
                              analysis::BenchmarkOptions options = {});
  // A variant that does not fit has a row that says so. Throws: what the model throws, except
  // BudgetExceeded and OutOfMemory.
  [[nodiscard]] analysis::BenchmarkResult run_benchmark() const;
  // One variant, as on the slides: the plain rows, or the checkpointed ones. Plain steps run in
  // both cases, for comparison.
  [[nodiscard]] analysis::BenchmarkResult run_benchmark(bool use_checkpoint) const;

 private:
  enum class Variants : std::uint8_t { All, Plain, Checkpointed };
  [[nodiscard]] analysis::BenchmarkResult run(Variants variants) const;
  std::vector<analysis::BenchmarkRow> measure(const std::vector<std::int64_t>& shape,
                                              std::int64_t batch_size, Variants variants) const;

  analysis::ModelFactory model_factory_;
  std::vector<std::vector<std::int64_t>> input_shapes_;
  std::vector<std::int64_t> batch_sizes_;
  analysis::BenchmarkOptions options_;
};

// ---- One model by batch ----

namespace analysis {

struct AnalyzerOptions {
  TrainingOptions training = {};
  std::optional<Bytes> budget = {};  // of each step's Scope; absent: no limit
};

struct PerformanceRow {
  std::int64_t batch_size = 0;
  Measurement step = {};
  // Milliseconds; the forward includes the loss. As on the slides, the total is forward and
  // backward; step.milliseconds also includes the optimizer and the ends of a scope.
  Quartiles forward_time = {}, backward_time = {}, total_time = {}, optimizer_time = {};
};

struct NEAP_EXPORT PerformanceResult {
  std::vector<std::int64_t> input_shape = {};
  std::optional<Bytes> budget = {};
  std::vector<PerformanceRow> rows = {};  // in the order of the batch sizes
  // batch with the largest throughput; absent: none fits
  std::optional<std::int64_t> best_batch = {};
  std::string limit = {};  // what limits the throughput, memory or time, in words

  [[nodiscard]] report::Table table() const;  // for people
  [[nodiscard]] std::string text() const;     // the table, the best batch and the limit
  [[nodiscard]] std::string csv() const;      // raw: bytes, milliseconds
  [[nodiscard]] std::string to_json() const;  // the same
  [[nodiscard]] std::string svg(Quantity quantity) const;  // by batch size, from rows that fit
};

// Sets best_batch and limit from the rows. Throughputs within 5 % count as equal.
NEAP_EXPORT void judge(PerformanceResult& result);

}  // namespace analysis

// Trains one model with several batch sizes. A batch that does not fit has a row that says so, and
// the next one follows.
class NEAP_EXPORT PerformanceAnalyzer {
 public:
  // Throws: InvalidArgument, as GradientCheckpointBenchmark.
  PerformanceAnalyzer(train::Model model, std::vector<std::int64_t> input_shape,
                      std::vector<std::int64_t> batch_sizes = {32, 64, 128},
                      analysis::AnalyzerOptions options = {});
  // The model's parameters, buffers and gradients are restored when it returns or throws. Copies of
  // them are kept outside of LibTorch's memory meanwhile. Throws: what the model throws, except
  // BudgetExceeded and OutOfMemory.
  [[nodiscard]] analysis::PerformanceResult analyze() const;

 private:
  train::Model model_;
  std::vector<std::int64_t> input_shape_;
  std::vector<std::int64_t> batch_sizes_;
  analysis::AnalyzerOptions options_;
};

// ---- The largest batch ----

namespace analysis {

// A model with what is needed to train it.
struct Job {
  train::Model model;
  std::shared_ptr<torch::optim::Optimizer> optimizer;
  train::Criterion loss;
};
using JobFactory = std::function<Job()>;
using SizedBatchMaker = std::function<train::MicroBatch(std::int64_t batch_size)>;

struct MaxBatchOptions {
  double margin_percent = 0;  // share of the budget that is left free: 0 to below 100
  // No trial begins after this time; the answer is what was proved by then. The plain side gets at
  // most half of it. Absent: none.
  std::optional<double> time_limit_seconds = {};
  // Called before each trial: true ends the search like the time limit. neap::interrupt() ends a
  // running trial of neap, with the same result. Empty: never.
  std::function<bool()> stop = {};
  // Retry with a plan what is refused online. That takes two plain steps outside of the budget, if
  // the machine has the memory.
  bool plan_ahead = true;
  std::int64_t smallest = 1;  // first batch size; BatchNorm needs 2
  // Steps at the answer, all of which must fit. The time of an item is their median.
  std::int64_t proof_steps = 2;
};

// A step that was run.
struct Trial {
  std::int64_t batch_size = 0;
  std::string refusal = {};  // empty: it fits
  Bytes peak = {};           // plain: live; neap: reserved; 0: the step did not end
  double milliseconds = 0;
};

struct MaxBatchSide {
  std::int64_t batch_size = 0;  // largest that was run and fits; 0: not even the smallest
  Bytes peak = {};              // largest of the proving steps
  double milliseconds_per_item = 0;
  // A step with batch_size + 1 (the smallest, when batch_size is 0) was run too, and does not fit.
  // False: the search ended before.
  bool proved = false;
  std::string next_refusal = {};   // of that step
  std::vector<Trial> trials = {};  // in the order in which they were run
};

struct NEAP_EXPORT MaxBatchResult {
  Bytes budget = {};  // without the margin
  MaxBatchSide plain = {}, neap = {};
  bool interrupted = false;  // by `stop` or neap::interrupt()

  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::string to_json() const;
};

}  // namespace analysis

// Finds the largest batch that really trains inside a budget: plain (where a step's live bytes stay
// within the budget) and in a Scope of the budget. It doubles, then bisects. Plain peaks grow
// almost linearly with the batch, so steps there are predicted and skipped, but never the two that
// prove the answer. The job of each side is made once, and dropped before that of the other. A
// batch that is refused online is retried with a plan, made from plain steps of it, if the machine
// has memory for those.
// Cost: a step for each trial. A plain trial never takes more than 5 / 4 of the budget.
// REQUIRES: no scope is open.
// Throws: InvalidArgument for a budget, margin, time limit, smallest or proof_steps out of range,
// or an empty function; what the job throws, except BudgetExceeded and OutOfMemory.
NEAP_EXPORT analysis::MaxBatchResult max_batch(const analysis::JobFactory& make_job,
                                               const analysis::SizedBatchMaker& make_batch,
                                               Bytes budget,
                                               const analysis::MaxBatchOptions& options = {});

}  // namespace neap
