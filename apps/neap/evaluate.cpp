// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap evaluate: the test accuracy of weights that were saved.
#include "evaluate.h"

#include "budget.h"
#include "commands.h"
#include "history.h"
#include "run_folder.h"
#include "training_source.h"

#include <neap/snapshot.h>

#include <system_error>
#include <vector>

namespace neap::app {

TestResult test_result(const train::Model& model, const Task& task, MemoryEfficientDataLoader& test,
                       const std::optional<Bytes>& budget, Progress& progress) {
  const train::EvaluationMode evaluation(model.module());
  const torch::NoGradGuard no_grad;
  const train::Criterion loss = task.test_loss();
  const std::int64_t class_dim = task.class_dim();
  bool has_scores = true;
  std::int64_t right = 0, labels_seen = 0, rows_seen = 0;
  double sum_of_losses = 0;
  for (const data::Batch& batch : test) {
    const at::Tensor& labels = batch.tensors[1];
    const std::int64_t rows = labels.size(0);
    Scope scope({.budget = budget, .policy = Online{}});  // nothing is saved for a backward
    const at::Tensor scores = model.forward(batch.tensors[0]);
    sum_of_losses += static_cast<double>(rows) * loss(scores, labels).item<double>();
    rows_seen += rows;
    has_scores = has_scores && scores.dim() == labels.dim() + 1 && class_dim < scores.dim();
    if (has_scores) {
      const at::Tensor predicted = scores.argmax(class_dim);
      has_scores = predicted.sizes() == labels.sizes();
      if (has_scores) right += predicted.eq(labels).sum().item<std::int64_t>();
      labels_seen += labels.numel();
    }
    progress.advance(rows);
  }
  TestResult result;
  result.loss = sum_of_losses / static_cast<double>(rows_seen);
  if (has_scores) result.accuracy = static_cast<double>(right) / static_cast<double>(labels_seen);
  return result;
}

void load_weights(train::Model& model, const std::filesystem::path& from) {
  namespace fs = std::filesystem;
  constexpr const char* kWeights = "model.safetensors";
  std::error_code error;
  fs::path file = from;
  if (fs::exists(from / kWeights, error)) {
    file = from / kWeights;
  } else if (fs::is_directory(from, error)) {
    const std::optional<fs::path> newest = train::newest_snapshot(from);
    if (!newest) {
      throw Error(from.string() +
                  " has no whole snapshot and no weights; name a safetensors file, a snapshot, or "
                  "the folder of --out");
    }
    file = *newest / kWeights;
  }
  train::import_weights(model.module(), file);
}

nlohmann::json json_of(const TestResult& result) {
  return {{"event", "evaluation"},
          {"test_loss", number(result.loss)},
          {"accuracy", result.accuracy ? number(*result.accuracy) : nlohmann::json(nullptr)}};
}

int evaluate(const TrainingOptions& options, Output& output) {
  const train::Budget wanted = parse_budget(options.budget);
  if (wanted.is_share()) {
    throw UsageError("--budget " + options.budget +
                     " is a share of a training step, and evaluate trains none; name bytes");
  }
  const std::optional<Bytes> budget = wanted.bytes({});
  const TrainingOptions prepared = as_trained(options);
  TrainingSource source(prepared, find_model(prepared));
  if (!source.has_test()) {
    throw UsageError("--model " + options.model + " makes its batches itself; name --data");
  }
  for (const std::string& note : source.notes()) {
    if (!options.quiet) say(note);
  }
  train::Model model = source.task().make_model();
  load_weights(model, options.weights);
  MemoryEfficientDataLoader test = source.test();
  Progress progress("test batch", test.batches(), options.quiet || options.json);
  const TestResult result = test_result(model, source.task(), test, budget, progress);
  if (options.json) {
    output.json(json_of(result));
    return 0;
  }
  std::vector<Row> rows{{"test loss", format_number("%.4f", result.loss)}};
  if (result.accuracy) {
    rows.emplace_back("test accuracy", format_number("%.2f %%", 100 * *result.accuracy));
  }
  output.line(table(rows));
  return 0;
}

}  // namespace neap::app
