// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/analysis.h: what training a model takes, in bytes and in time, and what checkpointing makes of it.
//
//   neap::install();
//   neap::nn::ResNet model(neap::nn::ResNetOptions{});
//   std::cout << neap::analyze_memory_usage(model, {3, 32, 32}, /*batch_size=*/32).text();    // traces a step
//   std::cout << neap::estimate_memory_usage(model, {3, 32, 32}, /*batch_size=*/32).text();  // runs nothing
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
// A measured step is zero_grad, forward, loss, backward, optimizer, after steps of the same kind that are not counted. Peaks are
// the allocator's, exact, and of the whole process: what the program holds besides is in them, and in `base`. Times are
// wall-clock: medians and quartiles of turns in which all that is compared runs once, in one process.
//
// B: rows of a batch. Units: bytes, milliseconds; `items` are rows. Threads: one thread at a time measures; whatever other
// threads allocate meanwhile is counted. LibTorch's default generator is as before when a measurement returns.
#pragma once

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

// ---- How models are trained while they are measured ----

using OptimizerMaker =
    std::function<std::shared_ptr<torch::optim::Optimizer>(const torch::nn::Module& model)>;
// sizes: (B, ...), the input of the model.
using BatchMaker = std::function<train::MicroBatch(at::IntArrayRef sizes)>;

// SGD, rate 0.01, momentum 0.9.
NEAP_EXPORT std::shared_ptr<torch::optim::Optimizer> sgd(const torch::nn::Module& model);
// x: `sizes`, normal numbers of the default generator; y: (B,), zeros.
NEAP_EXPORT train::MicroBatch random_batch(at::IntArrayRef sizes);
// The mean of the output's squares: a loss for any output of floating point. It does not look at the target.
NEAP_EXPORT at::Tensor mean_square(const at::Tensor& output, const at::Tensor& target);

struct TrainingOptions {
  OptimizerMaker optimizer = sgd;
  BatchMaker batch = random_batch;
  train::Criterion loss = mean_square;
  std::int64_t warm_up = 1;      // steps before each measured one, not counted; 0 or more
  std::int64_t repetitions = 5;  // measured steps; 1 or more
  std::uint64_t seed = 1;        // of the default generator, before batches and models are made
};

// ---- What was measured ----

struct Quartiles {
  double lower = 0, median = 0, upper = 0;
};
NEAP_EXPORT Quartiles quartiles_of(std::vector<double> values);

// Steps of one kind.
struct Measurement {
  std::string refusal = {};  // why it did not fit: the error's message; empty: it did
  Quartiles milliseconds = {};
  double items_per_second = 0;  // by the median
  double recompute_share = 0;   // of the time, inside replayed operators; median
  std::int64_t replays = 0;     // operators run again in a step, at most
  Bytes base = {};              // live before a step, without gradients
  Bytes peak_live = {};         // the largest of all measured steps, base included
  Bytes peak_reserved = {};

  [[nodiscard]] bool fits() const { return refusal.empty(); }
};

enum class Quantity { Peak, Throughput };

// ---- Memory by kind ----

enum class OptimizerKind { SGD, Momentum, Adam, AdamAMSGrad, AdamW, AdamWAMSGrad };

// For MemoryTracker::set_categories(): parameters, gradients, optimizer state and buffers, each storage once. Both must
// outlive the callback. It knows the state of SGD, Adam, AdamW, RMSprop and Adagrad, and throws InvalidArgument for that of others.
NEAP_EXPORT std::function<MemoryTracker::Categories()> categories_of(
    const torch::nn::Module& model, const torch::optim::Optimizer& optimizer);

struct LayerUsage {
  std::string name = {};                  // as in named_modules(); empty: the model itself
  std::string kind = {};                  // Linear, Conv2d
  std::vector<std::int64_t> output = {};  // sizes, with the batch; empty: not known
  std::int64_t parameters = 0;
  std::int64_t buffers = 0;
  std::int64_t gradients = 0;
  std::int64_t optimizer_states = 0;
  std::int64_t activations = 0;  // that this layer is the first to keep for the backward
  std::int64_t temporaries = 0;  // that its backward holds at once besides
};

}  // namespace analysis

// What a training step holds. Estimated: in bytes of tensors, without what the allocator adds to round blocks up. Measured: in bytes
// of the allocator, rounding and headers included, so that the sums are its own.
struct NEAP_EXPORT MemoryUsage {
  bool measured = false;  // by a step, or estimated without one
  std::int64_t batch_size = 0;
  std::int64_t input = 0;  // the batch that the model reads
  std::int64_t parameters = 0;
  std::int64_t buffers = 0;
  std::int64_t gradients = 0;
  std::string optimizer = {};  // whose states these are, as "SGD with momentum"
  std::int64_t optimizer_states = 0;
  std::int64_t activations =
      0;  // kept for the backward when the forward ends; the input is not among them
  std::int64_t temporaries = 0;  // at the peak: what is held there and is none of the above
  std::int64_t peak = 0;         // of all of the above; measured: computed from the trace of a step
  std::int64_t allocator_peak = 0;  // the same of a plain step, by the allocator; 0: not measured
  std::vector<analysis::LayerUsage> layers = {};
  std::vector<std::string> unknown =
      {};  // layers whose activations are not known, with their kinds
  std::vector<std::string> assumed =
      {};  // where sizes did not follow from the layers before, in sentences
  // Estimated: whose scratch memory the temporaries count, as "oneDNN's for AVX-512, 1 thread". Empty: measured.
  std::string kernels = {};

  // A table of the layers and one of the sums, with what is not known below.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::string to_json() const;
};

// What a training step will hold, without running anything. Parameters, buffers, gradients and optimizer state are exact. For
// activations the modules are gone through in the order in which they were registered, and each hands the sizes of its
// output to the next. What autograd keeps is known of LibTorch's Linear, convolutions (transposed ones too), Batch-, Instance-,
// Layer- and GroupNorm, ReLU, GELU, SiLU, Mish, Tanh, Sigmoid, Softmax, LogSoftmax, Softplus, LeakyReLU, ELU, ReLU6, Hardtanh,
// Dropout, Max-, Avg- and AdaptiveAvgPool, Flatten, Identity, Embedding, MultiheadAttention, GRU, LSTM and
// TransformerEncoderLayer, and of the models of neap/nn.h. Activations of these are exact to the byte, but for the
// workspace of LSTM (10 %); peaks are at most 3 % off in the tests, that of LSTM 8 %. Scratch memory is counted of convolutions
// of float, as oneDNN's kernels for AVX-512 or AVX2 take it: those that LibTorch would run now, in this thread; `kernels` names
// them. What the forward() of another module does besides calling its children (additions, torch::relu,
// skips, checkpoint()) is not seen; analyze_memory_usage() sees everything.
// input_size: of one item, without the batch. Layers that want integers get int64, others the type of their weights.
// The loss is taken to keep the output, and the step not to be the first: its optimizer has a state. The optimizer is that of
// analyze_memory_usage(), SGD with momentum, when none is named.
// Throws: InvalidArgument when batch_size or an extent is below 1.
NEAP_EXPORT MemoryUsage estimate_memory_usage(
    const torch::nn::Module& model, const std::vector<std::int64_t>& input_size,
    std::int64_t batch_size, analysis::OptimizerKind optimizer = analysis::OptimizerKind::Momentum);
// The same of a module holder, or of a pointer to a module.
template <class Holder>
requires requires(const Holder& model) { static_cast<const torch::nn::Module&>(*model); }
MemoryUsage estimate_memory_usage(
    const Holder& model, const std::vector<std::int64_t>& input_size, std::int64_t batch_size,
    analysis::OptimizerKind optimizer = analysis::OptimizerKind::Momentum) {
  return estimate_memory_usage(static_cast<const torch::nn::Module&>(*model), input_size,
                               batch_size, optimizer);
}

// What a training step holds, from the trace of one (neap::trace) after steps that make the optimizer's state: exact for
// any forward(). Activations are what the forward made and is alive when it ends, by the layer whose parameter their operator
// reads, else by the layer before it; temporaries are the rest at the peak, scratch memory of operators included.
// input_size: of one item, without the batch. The model's parameters, buffers and gradients are as before when it returns;
// its parameters keep their names (neap::name). Cost: options.warm_up + 2 steps.
// Throws: InvalidArgument when batch_size or an extent is below 1; ScopeConflict when a scope with a budget is open; what the
// model throws.
NEAP_EXPORT MemoryUsage analyze_memory_usage(const train::Model& model,
                                             const std::vector<std::int64_t>& input_size,
                                             std::int64_t batch_size,
                                             const analysis::TrainingOptions& options = {});

// ---- Plain, checkpointed and budgets side by side ----

namespace analysis {

// Shapes of one item each, without the batch: one, as {512} or {3, 224, 224}, or several, as {{512}, {256}}.
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

// Makes a model, with or without checkpointing inside. Both draw the same numbers from the default generator.
using ModelFactory = std::function<train::Model(bool use_checkpoint)>;

struct BenchmarkOptions {
  TrainingOptions training = {};
  // Of further rows, which train the model without checkpointing in a Scope: `30%`, `1.5GiB`, see train::Budget.
  std::vector<std::string> budgets = {};
};

struct BenchmarkRow {
  std::vector<std::int64_t> input_shape = {};
  std::int64_t batch_size = 0;
  std::string variant = {};          // plain, checkpointed, or the text of a budget
  std::optional<Bytes> budget = {};  // in bytes
  Measurement step = {};
  Quartiles ratio = {};  // time against the plain step of the same turn
  // Loss, parameters, gradients, buffers, optimizer state and generator after each turn have the bytes of the plain step's.
  bool equal_bits = false;
  std::string difference = {};  // what differs first, when something does
};

struct NEAP_EXPORT BenchmarkResult {
  std::vector<BenchmarkRow> rows = {};  // by shape, then batch, then variant

  [[nodiscard]] report::Table table() const;  // for people
  [[nodiscard]] std::string text() const { return table().text(); }
  [[nodiscard]] std::string csv() const;      // raw: bytes, milliseconds
  [[nodiscard]] std::string to_json() const;  // the same
  // By batch, a line for each variant (and shape, when there are several), of rows that fit.
  [[nodiscard]] std::string svg(Quantity quantity) const;
};

}  // namespace analysis

// Trains fresh models of a factory, plain, checkpointed and inside budgets: each turn runs every variant once, so that what
// the machine does meanwhile meets all of them. A model lives for its turn only, so no variant's bytes are in another one's peak.
// Cost: (warm_up + 1) * (repetitions + 1) steps a row; the first turn is not counted.
class NEAP_EXPORT GradientCheckpointBenchmark {
 public:
  // Throws: InvalidArgument for no shape or batch, an extent below 1, a budget that is none, repetitions below 1, warm_up below 0,
  // or an empty function.
  GradientCheckpointBenchmark(analysis::ModelFactory model_factory,
                              const analysis::InputShapes& input_shapes,
                              std::vector<std::int64_t> batch_sizes,
                              analysis::BenchmarkOptions options = {});
  // A variant that does not fit has a row that says so. Throws: what the model throws besides BudgetExceeded and OutOfMemory.
  [[nodiscard]] analysis::BenchmarkResult run_benchmark() const;
  // One variant, as slides ask for it: the plain rows, or the checkpointed ones. Plain steps are run for both, to compare with.
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
  std::optional<Bytes> budget = {};  // of the Scope of each step; absent: no limit
};

struct PerformanceRow {
  std::int64_t batch_size = 0;
  Measurement step = {};
  // Milliseconds; the loss belongs to the forward. The total is of forward and backward, as slides have it; step.milliseconds has
  // the optimizer and the ends of a scope too.
  Quartiles forward_time = {}, backward_time = {}, total_time = {}, optimizer_time = {};
};

struct NEAP_EXPORT PerformanceResult {
  std::vector<std::int64_t> input_shape = {};
  std::optional<Bytes> budget = {};
  std::vector<PerformanceRow> rows = {};        // in the order of the batch sizes
  std::optional<std::int64_t> best_batch = {};  // of the largest throughput; absent: none fits
  std::string limit = {};  // what keeps the throughput from growing, memory or time, in words

  [[nodiscard]] report::Table table() const;  // for people
  [[nodiscard]] std::string text() const;     // the table, the best batch and the limit
  [[nodiscard]] std::string csv() const;      // raw: bytes, milliseconds
  [[nodiscard]] std::string to_json() const;  // the same
  [[nodiscard]] std::string svg(Quantity quantity) const;  // by batch, of rows that fit
};

// Sets best_batch and limit from the rows. Throughput within 5 % counts as equal.
NEAP_EXPORT void judge(PerformanceResult& result);

}  // namespace analysis

// Trains one model with several batch sizes. A batch that does not fit gets a row that says so, and the next one follows.
class NEAP_EXPORT PerformanceAnalyzer {
 public:
  // Throws: InvalidArgument, as GradientCheckpointBenchmark.
  PerformanceAnalyzer(train::Model model, std::vector<std::int64_t> input_shape,
                      std::vector<std::int64_t> batch_sizes = {32, 64, 128},
                      analysis::AnalyzerOptions options = {});
  // The model's parameters, buffers and gradients are as before when it returns or throws; copies of them are kept outside of
  // LibTorch's memory meanwhile. Throws: what the model throws besides BudgetExceeded and OutOfMemory.
  [[nodiscard]] analysis::PerformanceResult analyze() const;

 private:
  train::Model model_;
  std::vector<std::int64_t> input_shape_;
  std::vector<std::int64_t> batch_sizes_;
  analysis::AnalyzerOptions options_;
};

// ---- The largest batch ----

namespace analysis {

// A model that trains.
struct Job {
  train::Model model;
  std::shared_ptr<torch::optim::Optimizer> optimizer;
  train::Criterion loss;
};
using JobFactory = std::function<Job()>;
using SizedBatchMaker = std::function<train::MicroBatch(std::int64_t batch_size)>;

struct MaxBatchOptions {
  double margin_percent = 0;  // of the budget, left free: 0 to below 100
  // No trial begins after that; what was proved by then is the answer. The plain side has half of it at most. Absent: none.
  std::optional<double> time_limit_seconds = {};
  // Asked before each trial: true ends the search as the end of the time does. A trial of neap that is under way is ended by
  // neap::interrupt(), with the same answer. Empty: never.
  std::function<bool()> stop = {};
  // Try again by a plan what is refused on line: that takes two plain steps outside of the budget, where the machine has room.
  bool plan_ahead = true;
  std::int64_t smallest = 1;  // batch to begin with; BatchNorm wants 2
  std::int64_t proof_steps =
      2;  // at the answer, all of which must fit; the time of an item is their median
};

// A step that was run.
struct Trial {
  std::int64_t batch_size = 0;
  std::string refusal = {};  // empty: it fits
  Bytes peak = {};           // plain: live; neap: reserved; 0 where it was not reached
  double milliseconds = 0;
};

struct MaxBatchSide {
  std::int64_t batch_size = 0;  // largest that was run and fits; 0: not even the smallest
  Bytes peak = {};              // of the proving steps, at most
  double milliseconds_per_item = 0;
  // A step was run with batch_size + 1 (the smallest, when batch_size is 0) too, and does not fit; else the search ended before.
  bool proved = false;
  std::string next_refusal = {};   // of that step
  std::vector<Trial> trials = {};  // in the order in which they were run
};

struct NEAP_EXPORT MaxBatchResult {
  Bytes budget = {};  // margin taken off
  MaxBatchSide plain = {}, neap = {};
  bool interrupted = false;  // by `stop` or neap::interrupt()

  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::string to_json() const;
};

}  // namespace analysis

// The largest batch that truly trains inside a budget: plain (what a step holds live is at most the budget) and in a Scope of
// the budget. Doubling, then bisection; plain peaks grow nearly by the same with each item, so steps are predicted
// and skipped there, but never the two that prove the answer. The job of each side is made once and dropped before the other's.
// A batch that is refused on line is tried again by a plan, made from plain steps of it, where the machine has room for those.
// Cost: a step a trial. A plain trial never takes more than 5 / 4 of the budget. REQUIRES: no scope is open.
// Throws: InvalidArgument for a budget, margin, smallest or proof_steps out of range, or an empty function; what the job
// throws besides BudgetExceeded and OutOfMemory.
NEAP_EXPORT analysis::MaxBatchResult max_batch(const analysis::JobFactory& make_job,
                                               const analysis::SizedBatchMaker& make_batch,
                                               Bytes budget,
                                               const analysis::MaxBatchOptions& options = {});

}  // namespace neap
