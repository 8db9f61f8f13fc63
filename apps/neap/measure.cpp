// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap analyze, neap bench, neap max-batch: what training a model takes, measured without data.
#include "commands.h"
#include "job.h"

#include <neap/analysis.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <vector>

namespace neap::app {
namespace {

using Json = nlohmann::ordered_json;

double parse_margin(const std::string& text) {
  const std::size_t end = text.size() - (text.ends_with('%') ? 1 : 0);
  double percent = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + end, percent);
  if (error != std::errc() || stop != text.data() + end || !(percent >= 0 && percent < 100)) {
    throw UsageError("--margin: '" + text + "' is not a share; write 0% to below 100%, as 2%");
  }
  return percent;
}

// `task` must outlive the result.
analysis::TrainingOptions training_of(const MeasuringOptions& options, const Task& task) {
  analysis::TrainingOptions training;
  training.seed = static_cast<std::uint64_t>(options.seed);
  training.optimizer = [&task](const torch::nn::Module& model) {
    return std::shared_ptr<torch::optim::Optimizer>(task.make_optimizer(model));
  };
  training.batch = [&task, seed = training.seed](at::IntArrayRef sizes) {
    return task.make_batch(sizes[0], seed);
  };
  training.loss = task.loss();
  training.repetitions = options.repetitions;
  return training;
}

// A share is one of what a plain step of the largest batch needs.
std::optional<Bytes> budget_of(const MeasuringOptions& options, const Task& task) {
  const train::Budget wanted = parse_budget(options.budget);
  if (!wanted.is_share()) return wanted.bytes({});
  Job job = task.make_job();
  const train::MicroBatch batch = task.make_batch(std::ranges::max(options.batch_sizes), 0);
  const train::PlainStep plain = train::measure_plain(job.loss, *job.optimizer, batch.x, batch.y);
  const std::optional<Bytes> budget = wanted.bytes(plain);
  std::fprintf(stderr, "a plain step of the largest batch needs %s; the budget of %s is %s\n",
               plain.peak.text().c_str(), options.budget.c_str(), budget->text().c_str());
  return budget;
}

}  // namespace

int analyze(const MeasuringOptions& options, Output& output) {
  const Task task = Task::without_data(options, find_model(options.model), options.input);
  const analysis::TrainingOptions training = training_of(options, task);
  torch::manual_seed(training.seed);
  const train::Model model = task.make_model();
  (void)parse_budget(options.budget);
  ReportFile csv("--csv", options.csv), svg("--svg", options.svg);
  const std::optional<Bytes> budget = budget_of(options, task);
  const analysis::PerformanceResult result =
      PerformanceAnalyzer(model, task.samples().shape, options.batch_sizes,
                          {.training = training, .budget = budget})
          .analyze();
  const MemoryUsage usage = analyze_memory_usage(model, task.samples().shape,
                                                 std::ranges::min(options.batch_sizes), training);
  csv.write([&](std::ostream& out) { out << result.csv(); });
  svg.write([&](std::ostream& out) { out << result.svg(analysis::Quantity::Peak); });
  if (options.json) {
    output.line(Json{{"performance", Json::parse(result.to_json())},
                     {"memory", Json::parse(usage.to_json())}}
                    .dump());
  } else {
    output.line(result.text());
    output.line(usage.text());
  }
  return 0;
}

int bench(const MeasuringOptions& options, Output& output) {
  const Task task = Task::without_data(options, find_model(options.model), options.input);
  (void)task.make_model();  // refuses samples before make_batch gets them
  for (const std::string& budget : options.budgets) (void)parse_budget(budget, "--budgets");
  const GradientCheckpointBenchmark benchmark(
      [&](bool use_checkpoint) { return task.make_model(use_checkpoint); }, {task.samples().shape},
      options.batch_sizes, {.training = training_of(options, task), .budgets = options.budgets});
  ReportFile csv("--csv", options.csv), svg("--svg", options.svg);
  const analysis::BenchmarkResult result = benchmark.run_benchmark();
  csv.write([&](std::ostream& out) { out << result.csv(); });
  svg.write([&](std::ostream& out) { out << result.svg(analysis::Quantity::Peak); });
  output.line(options.json ? Json::parse(result.to_json()).dump() : result.text());
  int code = 0;
  for (const analysis::BenchmarkRow& row : result.rows) {
    if (row.difference.empty()) continue;
    std::fprintf(stderr, "neap: batch %lld, %s: bits are not proved to be the plain step's: %s\n",
                 static_cast<long long>(row.batch_size), row.variant.c_str(),
                 row.difference.c_str());
    code = 1;
  }
  return code;
}

int max_batch(const MeasuringOptions& options, Output& output) {
  const Task task = Task::without_data(options, find_model(options.model), options.input);
  const auto wanted = parse_budget(options.budget);
  if (wanted.is_share() || !wanted.bytes({})) {
    throw UsageError("--budget: '" + options.budget +
                     "' is no number of bytes, and there is no batch yet that it could be a share "
                     "of; write it as 4GiB");
  }
  const double margin = parse_margin(options.margin);
  const analysis::MaxBatchResult result = neap::max_batch(
      [&] {
        torch::manual_seed(static_cast<std::uint64_t>(options.seed));
        const train::Model model = task.make_model();
        return analysis::Job{
            .model = model, .optimizer = task.make_optimizer(model.module()), .loss = task.loss()};
      },
      [&](std::int64_t rows) {
        return task.make_batch(rows, static_cast<std::uint64_t>(options.seed));
      },
      *wanted.bytes({}),
      {.margin_percent = margin, .time_limit_seconds = options.time_limit_seconds});
  output.line(options.json ? Json::parse(result.to_json()).dump() : result.text());
  if (result.neap.batch_size > 0) return 0;
  if (result.neap.trials.empty()) {
    std::fprintf(stderr,
                 "neap: no batch was tried inside %s within --time-limit; name a longer one\n",
                 result.budget.text().c_str());
  } else {
    std::fprintf(stderr, "neap: no batch trains in %s: %s\n", result.budget.text().c_str(),
                 result.neap.trials.back().refusal.c_str());
  }
  return 1;
}

}  // namespace neap::app
