// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap evaluate: the test accuracy of weights that were saved.
#include "evaluate.h"

#include "budget.h"
#include "commands.h"
#include "run_folder.h"
#include "training_source.h"

#include <neap/snapshot.h>

#include <system_error>

namespace neap::app {

std::optional<double> test_accuracy(const train::Model& model, std::int64_t class_dim,
                                    MemoryEfficientDataLoader& test,
                                    const std::optional<Bytes>& budget, Progress& progress) {
  model.module().eval();
  const torch::NoGradGuard no_grad;
  std::int64_t right = 0;
  std::int64_t all = 0;
  for (const data::Batch& batch : test) {
    const at::Tensor& labels = batch.tensors[1];
    Scope scope({.budget = budget, .policy = Online{}});  // nothing is saved for a backward
    const at::Tensor scores = model.forward(batch.tensors[0]);
    if (scores.dim() != labels.dim() + 1 || class_dim >= scores.dim()) return std::nullopt;
    const at::Tensor predicted = scores.argmax(class_dim);
    if (predicted.sizes() != labels.sizes()) return std::nullopt;
    right += predicted.eq(labels).sum().item<std::int64_t>();
    all += labels.numel();
    progress.advance(labels.size(0));
  }
  model.module().train();
  return static_cast<double>(right) / static_cast<double>(all);
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

int evaluate(const TrainingOptions& options, Output& output) {
  const train::Budget wanted = parse_budget(options.budget);
  if (wanted.is_share()) {
    throw UsageError("--budget " + options.budget +
                     " is a share of a training step, and evaluate trains none; name bytes");
  }
  const std::optional<Bytes> budget = wanted.bytes({});
  const TrainingOptions prepared = as_trained(options);
  TrainingSource source(prepared, find_model(options.model));
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
  const std::optional<double> accuracy =
      test_accuracy(model, source.task().class_dim(), test, budget, progress);
  if (!accuracy) {
    throw Error("--model " + options.model + " does not score the labels of " + source.name() +
                ", so its accuracy is not known; set class_dim in its definition");
  }
  if (options.json) {
    output.json(nlohmann::json{{"event", "evaluation"}, {"accuracy", *accuracy}});
  } else {
    output.line(table({{"test accuracy", format_number("%.2f %%", 100 * *accuracy)}}));
  }
  return 0;
}

}  // namespace neap::app
