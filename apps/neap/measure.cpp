// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap analyze, neap bench, neap max-batch: measure what training a model takes, without data.
#include "budget.h"
#include "commands.h"
#include "page/whole_page.h"
#include "values.h"

#include <neap/analysis.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {
namespace {

using Json = nlohmann::ordered_json;

double parse_margin(const std::string& text) {
  const std::optional<double> percent = parse_percent(text.ends_with('%') ? text : text + '%');
  if (!percent || !(*percent >= 0 && *percent < 100)) {
    throw UsageError("--margin: '" + text + "' is not a share; write 0% to below 100%, as 2%");
  }
  return *percent;
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

void warn_if_too_large(const std::optional<Bytes>& budget) {
  const std::string warning = why_too_large(budget);
  if (!warning.empty()) say(warning);
}

// A share is a share of what a plain step of the largest batch needs. REQUIRES: no other model
// exists, because its bytes would count as what stays between steps.
std::optional<Bytes> budget_of(const MeasuringOptions& options, const Task& task) {
  const train::Budget wanted = parse_budget(options.budget);
  train::PlainStep plain{};
  if (wanted.is_share()) {
    const PlainNeed need =
        plain_need(task, task.make_batch(std::ranges::max(options.batch_sizes), 0));
    if (!need.note.empty()) say(need.note);
    plain = need.step;
    say("a plain step of the largest batch needs " + plain.peak.text() + "; the budget of " +
        options.budget + " is " + wanted.bytes(plain)->text());
  }
  const std::optional<Bytes> budget = wanted.bytes(plain);
  warn_if_too_large(budget);
  return budget;
}

// Writes the object of --json, or the text for people.
void show(const Json& object, const std::string& text, const MeasuringOptions& options,
          Output& output) {
  if (options.json) {
    output.json(object);
  } else {
    output.line(text);
  }
}

void draw(ReportFile& page, const char* command, const Json& object,
          const MeasuringOptions& options) {
  if (options.report.empty()) return;
  PageContent content;
  content.measured.push_back({options.report, object});
  page.write([&](std::ostream& out) { out << page_of(command + (": " + options.model), content); });
  say("wrote " + options.report + kHowToOpen);
}

}  // namespace

int analyze(const MeasuringOptions& options, Output& output) {
  const Task task = Task::without_data(options, find_model(options), options.input);
  const analysis::TrainingOptions training = training_of(options, task);
  (void)task.make_model();  // refuses bad samples before make_batch() is called
  ReportFile csv("--csv", options.csv), svg("--svg", options.svg);
  ReportFile page("--report", options.report);
  const std::optional<Bytes> budget = budget_of(options, task);
  torch::manual_seed(training.seed);
  const train::Model model = task.make_model();
  const analysis::PerformanceResult result =
      PerformanceAnalyzer(model, task.samples().shape, options.batch_sizes,
                          {.training = training, .budget = budget})
          .analyze();
  const std::int64_t smallest = std::ranges::min(options.batch_sizes);
  const MemoryUsage usage = analyze_memory_usage(model, task.samples().shape, smallest, training);
  csv.write([&](std::ostream& out) { out << result.csv(); });
  svg.write([&](std::ostream& out) { out << result.svg(analysis::Quantity::Peak); });
  const Json object{{"label", task.name_of_step(smallest)},
                    {"performance", Json::parse(result.to_json())},
                    {"memory", Json::parse(usage.to_json())}};
  draw(page, "neap analyze", object, options);
  show(object, result.text() + '\n' + usage.text(), options, output);
  return 0;
}

int bench(const MeasuringOptions& options, Output& output) {
  const Task task = Task::without_data(options, find_model(options), options.input);
  (void)task.make_model();  // refuses bad samples before make_batch() is called
  std::vector<std::string> budgets = options.budgets;
  for (std::string& text : budgets) {
    const train::Budget budget = parse_budget(text, "--budgets");
    if (budget.is_share()) continue;
    const std::optional<Bytes> bytes = budget.bytes({});
    if (text == "auto") text = std::to_string(bytes->count());
    warn_if_too_large(bytes);
  }
  const GradientCheckpointBenchmark benchmark(
      [&](bool use_checkpoint) { return task.make_model(use_checkpoint); }, {task.samples().shape},
      options.batch_sizes, {.training = training_of(options, task), .budgets = budgets});
  ReportFile csv("--csv", options.csv), svg("--svg", options.svg);
  ReportFile page("--report", options.report);
  const analysis::BenchmarkResult result = benchmark.run_benchmark();
  csv.write([&](std::ostream& out) { out << result.csv(); });
  svg.write([&](std::ostream& out) { out << result.svg(analysis::Quantity::Peak); });
  Json object = Json::parse(result.to_json());
  for (Json& row : object["rows"]) {
    row["label"] = task.name_of_step(row["batch_size"].get<std::int64_t>());
  }
  draw(page, "neap bench", object, options);
  show(object, result.text(), options, output);
  int code = 0;
  for (const analysis::BenchmarkRow& row : result.rows) {
    if (row.difference.empty()) continue;
    say("neap: batch " + std::to_string(row.batch_size) + ", " + row.variant +
        ": bits are not proved to be the plain step's: " + row.difference);
    code = 1;
  }
  return code;
}

int max_batch(const MeasuringOptions& options, Output& output) {
  const Task task = Task::without_data(options, find_model(options), options.input);
  const auto wanted = parse_budget(options.budget);
  if (wanted.is_share() || !wanted.bytes({})) {
    throw UsageError("--budget: '" + options.budget +
                     "' is no number of bytes, and there is no batch yet that it could be a share "
                     "of; write it as 4GiB");
  }
  warn_if_too_large(wanted.bytes({}));
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
      {.margin_percent = margin, .time_limit_seconds = options.time_limit_seconds, .stop = [] {
         return stop_requested.load();
       }});
  show(Json::parse(result.to_json()), result.text(), options, output);
  if (result.interrupted) throw Interrupted();
  if (result.neap.batch_size > 0) return 0;
  if (result.neap.trials.empty()) {
    say("neap: no batch was tried inside " + result.budget.text() +
        " within --time-limit; name a longer one");
  } else {
    say("neap: no batch trains in " + result.budget.text() + ": " +
        result.neap.trials.back().refusal);
  }
  return 1;
}

}  // namespace neap::app
