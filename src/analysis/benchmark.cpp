// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/step.h"

#include <neap/analysis.h>

#include <torch/torch.h>

#include <utility>

namespace neap {
namespace analysis {
namespace {

constexpr const char* kName = "GradientCheckpointBenchmark";
constexpr std::size_t kPlain = 0, kCheckpointed = 1;

struct Turn {
  std::string refusal;
  Step step;
  std::optional<train::State> state;
};

// Trains a fresh model, which is destroyed before this returns.
Turn run_turn(const ModelFactory& factory, bool use_checkpoint, const TrainingOptions& options,
              const std::vector<std::int64_t>& sizes, const StepMode& mode) {
  torch::manual_seed(options.seed);
  Turn turn;
  turn.refusal = refusal_of(nullptr, [&] {
    std::optional<Fence> fence;
    if (!mode.scope) fence.emplace(room_of_machine());
    const train::MicroBatch batch = options.batch(sizes);
    const train::Model model = factory(use_checkpoint);
    const Job job{model, options.optimizer(model.module()), options.loss};
    for (std::int64_t i = 0; i < options.warm_up; ++i) run_step(job, batch, mode);
    turn.step = run_step(job, batch, mode);
    turn.state = train::State::of(model.module(), *job.optimizer, turn.step.loss);
  });
  return turn;
}

// A step may need more online than with a plan. Prepares a plan. False: the plain step for it does
// not fit.
bool plan_turn(const ModelFactory& factory, const TrainingOptions& options,
               const std::vector<std::int64_t>& sizes) {
  torch::manual_seed(options.seed);
  return refusal_of(nullptr,
                    [&] {
                      const Fence fence(room_of_machine());
                      const train::MicroBatch batch = options.batch(sizes);
                      const train::Model model = factory(false);
                      plan_ahead({model, options.optimizer(model.module()), options.loss}, batch);
                    })
      .empty();
}

std::string text_of(const train::State::Difference& difference) {
  return difference.name +
         (difference.index < 0 ? "" : "[" + std::to_string(difference.index) + "]") + ": " +
         difference.expected + " plain, " + difference.found + " here";
}

// REQUIRES: for a share, the plain step was run.
std::optional<Bytes> budget_bytes(const train::Budget& budget, const Step& plain) {
  return budget.bytes({.base = Bytes(plain.base_reserved),
                       .peak = Bytes(plain.base_reserved + plain.peak_live - plain.base),
                       .milliseconds = plain.milliseconds});
}

}  // namespace
}  // namespace analysis

using namespace analysis;

GradientCheckpointBenchmark::GradientCheckpointBenchmark(ModelFactory model_factory,
                                                         const InputShapes& input_shapes,
                                                         std::vector<std::int64_t> batch_sizes,
                                                         BenchmarkOptions options)
    : model_factory_(std::move(model_factory)),
      input_shapes_(input_shapes.all()),
      batch_sizes_(std::move(batch_sizes)),
      options_(std::move(options)) {
  if (!model_factory_) {
    throw InvalidArgument(std::string(kName) +
                          ": the model factory is an empty function; give one that makes a model");
  }
  if (input_shapes_.empty()) {
    throw InvalidArgument(std::string(kName) +
                          ": no input shape; name one at least, as {{3, 224, 224}}");
  }
  for (const auto& shape : input_shapes_) check_shape(kName, shape);
  check_batch_sizes(kName, batch_sizes_);
  check_training(kName, options_.training);
  for (const std::string& budget : options_.budgets) (void)train::Budget::parse(budget);
}

BenchmarkResult GradientCheckpointBenchmark::run_benchmark() const { return run(Variants::All); }

BenchmarkResult GradientCheckpointBenchmark::run_benchmark(bool use_checkpoint) const {
  return run(use_checkpoint ? Variants::Checkpointed : Variants::Plain);
}

BenchmarkResult GradientCheckpointBenchmark::run(Variants variants) const {
  const GeneratorGuard generator;
  BenchmarkResult result;
  for (const auto& shape : input_shapes_) {
    for (const std::int64_t batch_size : batch_sizes_) {
      for (BenchmarkRow& row : measure(shape, batch_size, variants)) {
        result.rows.push_back(std::move(row));
      }
    }
  }
  return result;
}

std::vector<BenchmarkRow> GradientCheckpointBenchmark::measure(
    const std::vector<std::int64_t>& shape, std::int64_t batch_size, Variants variants) const {
  std::vector<std::string> names{"plain"};
  if (variants != Variants::Plain) names.emplace_back("checkpointed");
  if (variants == Variants::All) {
    names.insert(names.end(), options_.budgets.begin(), options_.budgets.end());
  }
  std::vector<BenchmarkRow> rows;
  for (const std::string& name : names) {
    rows.push_back({.input_shape = shape, .batch_size = batch_size, .variant = name});
  }
  const std::vector<std::int64_t> sizes = with_batch(batch_size, shape);
  std::vector<Steps> steps(rows.size());
  std::vector<std::vector<double>> ratios(rows.size());
  for (BenchmarkRow& row : rows) row.equal_bits = true;

  for (std::int64_t turn_number = -1; turn_number < options_.training.repetitions; ++turn_number) {
    Turn plain;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      BenchmarkRow& row = rows[i];
      if (!row.step.fits()) continue;
      StepMode mode{.scope = i != kPlain};
      if (i > kCheckpointed) {
        const train::Budget budget = train::Budget::parse(options_.budgets[i - 2]);
        if (budget.is_share() && !plain.state) {
          row.step.refusal = "the plain step did not fit, so a share of it is not known";
          continue;
        }
        mode.budget = row.budget = budget_bytes(budget, plain.step);
      }
      const auto run = [&] {
        return run_turn(model_factory_, i == kCheckpointed, options_.training, sizes, mode);
      };
      Turn turn = run();
      if (!turn.refusal.empty() && mode.budget && plain.state &&
          plan_turn(model_factory_, options_.training, sizes)) {
        turn = run();
      }
      row.step.refusal = turn.refusal;
      if (!turn.refusal.empty()) continue;
      const Turn& done = i == kPlain ? plain : turn;
      if (i == kPlain) std::swap(plain, turn);
      if (row.difference.empty()) {
        if (!plain.state) {
          row.difference = "no plain step to compare with";
        } else if (const auto difference = plain.state->first_difference(*done.state)) {
          row.difference = text_of(*difference);
        }
      }
      // The first turn warms up caches, pages and the learned costs of operators.
      if (turn_number < 0) continue;
      steps[i].add(done.step);
      if (plain.state) ratios[i].push_back(done.step.milliseconds / plain.step.milliseconds);
    }
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].equal_bits = rows[i].step.fits() && rows[i].difference.empty();
    if (!rows[i].step.fits()) continue;
    rows[i].step = steps[i].measurement(batch_size);
    rows[i].ratio = quartiles_of(std::move(ratios[i]));
  }
  // it was run for comparison only
  if (variants == Variants::Checkpointed) rows.erase(rows.begin());
  return rows;
}

}  // namespace neap
