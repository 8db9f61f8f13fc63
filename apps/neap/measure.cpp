// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap analyze, neap bench, neap max-batch: what training a model takes, measured on noise.
#include "commands.h"
#include "job.h"

#include <neap/analysis.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

namespace neap::app {
namespace {

using Json = nlohmann::ordered_json;

// Opened before anything is measured, so that a wrong path costs no minutes.
class ReportFile {
 public:
  ReportFile(const char* option, const std::string& path) : option_(option), path_(path) {
    if (!path.empty()) file_.open(path, std::ios::binary | std::ios::trunc);
    check();
  }
  template <class MakeText>
  void write(const MakeText& make_text) {
    if (path_.empty()) return;
    file_ << make_text();
    file_.close();
    check();
  }

 private:
  void check() const {
    if (path_.empty() || file_) return;
    throw Error(std::string(option_) + ": " + path_ + " cannot be written: " +
                std::strerror(errno) + "; name a file in a folder that you may write to");
  }

  const char* option_;
  const std::string& path_;
  std::ofstream file_;
};

template <class Parse>
auto parsed(const char* option, const Parse& parse) {
  try {
    return parse();
  } catch (const InvalidArgument& error) {
    throw UsageError(std::string(option) + ": " + error.what());
  }
}

double parse_margin(const std::string& text) {
  const std::size_t end = text.size() - (text.ends_with('%') ? 1 : 0);
  double percent = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + end, percent);
  if (error != std::errc() || stop != text.data() + end || !(percent >= 0 && percent < 100)) {
    throw UsageError("--margin: '" + text + "' is not a share; write 0% to below 100%, as 2%");
  }
  return percent;
}

// The loss of a measured step. A plain step has no scope that an interrupt could end, so it ends here.
at::Tensor measured_loss(const at::Tensor& scores, const at::Tensor& labels) {
  if (stop_requested) throw Interrupted();
  return cross_entropy(scores, labels);
}

analysis::TrainingOptions training_of(const MeasuringOptions& options, const Problem& problem) {
  analysis::TrainingOptions training;
  training.optimizer = [options](const torch::nn::Module& model) {
    return std::shared_ptr<torch::optim::Optimizer>(make_optimizer(options, model));
  };
  training.batch = [options, problem](at::IntArrayRef sizes) {
    return random_batch(sizes[0], problem, static_cast<std::uint64_t>(options.seed));
  };
  training.loss = measured_loss;
  training.repetitions = options.repetitions;
  training.seed = static_cast<std::uint64_t>(options.seed);
  return training;
}

// A share is one of what a plain step of the largest batch needs.
std::optional<Bytes> budget_of(const MeasuringOptions& options, const Problem& problem) {
  const auto wanted = parsed("--budget", [&] { return train::Budget::parse(options.budget); });
  if (!wanted.is_share()) return wanted.bytes({});
  Job job = make_job(options, problem);
  const train::MicroBatch batch = random_batch(std::ranges::max(options.batch_sizes), problem, 0);
  const train::PlainStep plain = train::measure_plain(job.loss, *job.optimizer, batch.x, batch.y);
  const std::optional<Bytes> budget = wanted.bytes(plain);
  std::fprintf(stderr, "a plain step of the largest batch needs %s; the budget of %s is %s\n",
               plain.peak.text().c_str(), options.budget.c_str(), budget->text().c_str());
  return budget;
}

}  // namespace

int analyze(const MeasuringOptions& options, Output& output) {
  const Problem problem = default_problem(options.model, options.input);
  ReportFile csv("--csv", options.csv), svg("--svg", options.svg);
  const std::optional<Bytes> budget = budget_of(options, problem);
  const analysis::TrainingOptions training = training_of(options, problem);
  torch::manual_seed(training.seed);
  const train::Model model = make_model(options.model, problem);
  const analysis::PerformanceResult result =
      PerformanceAnalyzer(model, problem.shape, options.batch_sizes,
                          {.training = training, .budget = budget})
          .analyze();
  const MemoryUsage usage =
      analyze_memory_usage(model, problem.shape, std::ranges::min(options.batch_sizes), training);
  csv.write([&] { return result.csv(); });
  svg.write([&] { return result.svg(analysis::Quantity::Peak); });
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
  const Problem problem = default_problem(options.model, options.input);
  ReportFile csv("--csv", options.csv), svg("--svg", options.svg);
  const GradientCheckpointBenchmark benchmark = parsed("--budgets", [&] {
    return GradientCheckpointBenchmark(
        [&](bool use_checkpoint) { return make_model(options.model, problem, use_checkpoint); },
        {problem.shape}, options.batch_sizes,
        {.training = training_of(options, problem), .budgets = options.budgets});
  });
  const analysis::BenchmarkResult result = benchmark.run_benchmark();
  csv.write([&] { return result.csv(); });
  svg.write([&] { return result.svg(analysis::Quantity::Peak); });
  output.line(options.json ? Json::parse(result.to_json()).dump() : result.text());
  int code = 0;
  for (const analysis::BenchmarkRow& row : result.rows) {
    if (row.difference.empty()) continue;
    std::fprintf(stderr, "neap: batch %lld, %s: bits differ from the plain step's: %s\n",
                 static_cast<long long>(row.batch_size), row.variant.c_str(),
                 row.difference.c_str());
    code = 1;
  }
  return code;
}

int max_batch(const MeasuringOptions& options, Output& output) {
  const Problem problem = default_problem(options.model, options.input);
  const auto wanted = parsed("--budget", [&] { return train::Budget::parse(options.budget); });
  if (wanted.is_share() || !wanted.bytes({})) {
    throw UsageError("--budget: '" + options.budget +
                     "' is no number of bytes, and there is no batch yet that it could be a share "
                     "of; write it as 4GiB");
  }
  const double margin = parse_margin(options.margin);
  const analysis::MaxBatchResult result = neap::max_batch(
      [&] {
        torch::manual_seed(static_cast<std::uint64_t>(options.seed));
        const train::Model model = make_model(options.model, problem);
        return analysis::Job{.model = model,
                             .optimizer = make_optimizer(options, model.module()),
                             .loss = measured_loss};
      },
      [&](std::int64_t rows) {
        return random_batch(rows, problem, static_cast<std::uint64_t>(options.seed));
      },
      *wanted.bytes({}),
      {.margin_percent = margin, .time_limit_seconds = options.time_limit_seconds});
  output.line(options.json ? Json::parse(result.to_json()).dump() : result.text());
  if (result.neap.batch_size > 0) return 0;
  std::fprintf(stderr, "neap: no batch trains in %s: %s\n", result.budget.text().c_str(),
               result.neap.trials.empty() ? "the time was over before the first step"
                                          : result.neap.trials.back().refusal.c_str());
  return 1;
}

}  // namespace neap::app
