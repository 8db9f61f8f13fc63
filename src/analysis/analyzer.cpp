// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/modules.h"
#include "analysis/step.h"

#include <neap/analysis.h>

#include <torch/torch.h>

#include <algorithm>
#include <utility>

namespace neap {
namespace analysis {
namespace {

constexpr const char* kName = "PerformanceAnalyzer";
constexpr double kEqual = 0.95;  // throughputs within this factor count as equal

std::string throughput_text(const PerformanceRow& row) {
  return report::fixed(row.step.items_per_second, 1) + " items/s at batch " +
         std::to_string(row.batch_size);
}

}  // namespace

void judge(PerformanceResult& result) {
  std::vector<const PerformanceRow*> fitting;
  const PerformanceRow* refused = nullptr;  // the one with the smallest batch
  for (const PerformanceRow& row : result.rows) {
    if (row.step.fits()) {
      fitting.push_back(&row);
    } else if (refused == nullptr || row.batch_size < refused->batch_size) {
      refused = &row;
    }
  }
  std::ranges::sort(fitting, {}, &PerformanceRow::batch_size);
  result.best_batch.reset();
  result.limit.clear();
  if (fitting.empty()) {
    if (refused != nullptr) {
      result.limit = "memory: not even batch " + std::to_string(refused->batch_size) +
                     " fits; raise the budget, or checkpoint more";
    }
    return;
  }
  const auto throughput = [](const PerformanceRow* row) { return row->step.items_per_second; };
  const PerformanceRow* const best = *std::ranges::max_element(fitting, {}, throughput);
  result.best_batch = best->batch_size;
  // The smallest batch that is as fast.
  const PerformanceRow* const enough = *std::ranges::find_if(
      fitting,
      [&](const PerformanceRow* row) { return throughput(row) >= kEqual * throughput(best); });
  const PerformanceRow* const largest = fitting.back();
  if (enough != largest) {
    result.limit = "time: " + throughput_text(*enough) +
                   (enough == best ? " is the best"
                                   : " is within 5 % of the best, " + throughput_text(*best)) +
                   "; larger batches only take memory";
  } else if (refused != nullptr && refused->batch_size > largest->batch_size) {
    result.limit = "memory: " + throughput_text(*largest) +
                   " is more than any smaller batch gives, and batch " +
                   std::to_string(refused->batch_size) + " does not fit";
  } else {
    result.limit =
        "neither memory nor time within these batches: " + throughput_text(*largest) +
        (fitting.size() > 1 ? " is more than any smaller one gives" : " is all that was run") +
        ", so try larger ones";
  }
}

}  // namespace analysis

using namespace analysis;

PerformanceAnalyzer::PerformanceAnalyzer(train::Model model, std::vector<std::int64_t> input_shape,
                                         std::vector<std::int64_t> batch_sizes,
                                         AnalyzerOptions options)
    : model_(std::move(model)),
      input_shape_(std::move(input_shape)),
      batch_sizes_(std::move(batch_sizes)),
      options_(std::move(options)) {
  check_shape(kName, input_shape_);
  check_batch_sizes(kName, batch_sizes_);
  check_training(kName, options_.training);
}

PerformanceResult PerformanceAnalyzer::analyze() const {
  const GeneratorGuard generator;
  const ModelGuard guard(model_.module());
  const TrainingOptions& training = options_.training;
  const Job job{model_, training.optimizer(model_.module()), training.loss};
  PerformanceResult result{.input_shape = input_shape_, .budget = options_.budget};
  for (const std::int64_t batch_size : batch_sizes_)
    result.rows.push_back({.batch_size = batch_size});

  std::vector<Steps> steps(result.rows.size());
  // The first turn is not counted, because it makes the optimizer's state.
  for (std::int64_t turn = -1; turn < training.repetitions; ++turn) {
    for (std::size_t i = 0; i < result.rows.size(); ++i) {
      PerformanceRow& row = result.rows[i];
      if (!row.step.fits()) continue;
      row.step.refusal = refusal_of(job.optimizer.get(), [&] {
        torch::manual_seed(training.seed);
        const train::MicroBatch batch = training.batch(with_batch(row.batch_size, input_shape_));
        const StepMode mode{.budget = options_.budget};
        for (std::int64_t step = 0; step < training.warm_up; ++step) run_step(job, batch, mode);
        const Step step = run_step(job, batch, mode);
        if (turn >= 0) steps[i].add(step);
      });
    }
  }
  for (std::size_t i = 0; i < result.rows.size(); ++i) {
    PerformanceRow& row = result.rows[i];
    if (!row.step.fits()) continue;
    row.step = steps[i].measurement(row.batch_size);
    row.forward_time = steps[i].quartiles(&Step::forward_ms);
    row.backward_time = steps[i].quartiles(&Step::backward_ms);
    row.total_time = steps[i].quartiles(&Step::total_ms);
    row.optimizer_time = steps[i].quartiles(&Step::optimizer_ms);
  }
  judge(result);
  return result;
}

}  // namespace neap
