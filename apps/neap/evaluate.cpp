// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap evaluate: the test accuracy of weights that were saved.
#include "evaluate.h"

#include "commands.h"
#include "history.h"
#include "weights.h"

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

nlohmann::json json_of(const TestResult& result) {
  return {{"event", "evaluation"},
          {"test_loss", number(result.loss)},
          {"accuracy", result.accuracy ? number(*result.accuracy) : nlohmann::json(nullptr)}};
}

int evaluate(const TrainingOptions& options, Output& output) {
  const TrainedModel trained(options, "evaluate");
  MemoryEfficientDataLoader test = trained.source().test();
  Progress progress("test batch", test.batches(), options.quiet || options.json);
  const TestResult result =
      test_result(trained.model(), trained.source().task(), test, trained.budget(), progress);
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
