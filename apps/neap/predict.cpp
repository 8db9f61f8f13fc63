// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap predict: what a trained model says of each sample, or how it goes on with a text.
#include "command_options.h"
#include "commands.h"
#include "notes.h"
#include "predictions.h"
#include "progress.h"
#include "weights.h"

#include <neap/report.h>
#include <neap/snapshot.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace neap::app {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBytes = 256;         // tokens of a model that reads bytes
constexpr std::int64_t kMostOutputs = 1000;  // numbers of a sample
constexpr std::size_t kShown = 20;           // rows of the table in a terminal

// Whether each row has a score for each class.
bool has_scores(const at::Tensor& output, const Task& task) {
  constexpr std::int64_t kFewest = 2;
  return output.dim() == 2 && (task.class_dim() == 1 || task.class_dim() == -1) &&
         output.size(1) >= std::max(kFewest, task.samples().classes);
}

std::vector<double> numbers_of(const at::Tensor& one) {
  const at::Tensor numbers = one.to(at::kDouble).flatten().contiguous();
  const auto* const begin = numbers.const_data_ptr<double>();
  return {begin, begin + numbers.numel()};
}

// A row of scores, or of outputs, becomes what is said of a sample.
void put_in(Prediction& to, const at::Tensor& row, std::int64_t top, bool are_scores) {
  if (!are_scores) {
    to.outputs = numbers_of(row);
    return;
  }
  const auto [probabilities, classes] =
      at::topk(row.to(at::kDouble).softmax(0), std::min(top, row.size(0)));
  const std::vector<double> values = numbers_of(probabilities);
  if (!std::ranges::all_of(values, [](double value) { return std::isfinite(value); })) {
    to.top.assign(values.size(), {kNoClass, std::nan("")});
    return;
  }
  const auto* const numbers = classes.const_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < values.size(); ++i) to.top.emplace_back(numbers[i], values[i]);
}

void check_output(const at::Tensor& output, std::int64_t rows, const PredictOptions& options,
                  bool are_scores) {
  const std::string model = "--model " + options.model;
  if (output.dim() < 1 || output.size(0) != rows) {
    throw Error(model + ": its forward gave no row for each of " + std::to_string(rows) +
                " samples; return (rows, ...)");
  }
  if (are_scores) {
    if (options.top <= output.size(1)) return;
    throw UsageError("--top " + std::to_string(options.top) + ": " + model + " has " +
                     std::to_string(output.size(1)) + " classes; take at most as many");
  }
  if (options.top > 1) {
    throw UsageError("--top is for scores of classes, and " + model +
                     " gives other numbers; leave it out");
  }
  if (output.numel() / rows > kMostOutputs) {
    throw UsageError(model + " gives " + std::to_string(output.numel() / rows) +
                     " numbers for a sample, and a row has at most " +
                     std::to_string(kMostOutputs) + "; use the model in a program of your own");
  }
}

Predictions predictions_of(const TrainedModel& trained, const PredictOptions& options) {
  const data::Splits& splits = *trained.source().splits();
  const train::EvaluationMode evaluation(trained.model().module());
  const torch::NoGradGuard no_grad;
  MemoryEfficientDataLoader test = trained.source().test();
  Progress progress("batch", test.batches(), options.quiet || options.json);
  Predictions made{.class_names = splits.class_names};
  for (const data::Batch& batch : test) {
    if (stop_requested) throw Interrupted();
    const at::Tensor& labels = batch.tensors[1];
    const std::int64_t rows = labels.size(0);
    Scope scope({.budget = trained.budget(), .policy = Online{}});  // no backward needs anything
    const at::Tensor output = trained.model().forward(batch.tensors[0]);
    const bool are_scores = has_scores(output, trained.source().task());
    check_output(output, rows, options, are_scores);
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto sample = static_cast<std::size_t>(batch.samples[static_cast<std::size_t>(row)]);
      Prediction one{.sample = static_cast<std::int64_t>(sample)};
      if (!splits.test_rows.empty()) one.sample = splits.test_rows[sample];
      if (!splits.test_files.empty()) one.file = splits.test_files[sample].string();
      if (labels.dim() == 1) {
        const auto label = labels[row].item<std::int64_t>();
        if (label >= 0) one.label = label;
      }
      put_in(one, output[row], options.top, are_scores);
      made.rows.push_back(std::move(one));
    }
    progress.advance(rows);
  }
  return made;
}

// Throws: UsageError when `out` is a file below the folder, of which any may be read.
void check_not_below(const fs::path& folder, const fs::path& out) {
  std::error_code error;
  if (!fs::is_directory(folder, error) || !fs::exists(out, error)) return;
  const fs::path whole = fs::canonical(folder, error);
  // A link is replaced as what it leads to.
  for (const fs::path& file : {fs::canonical(out, error), fs::absolute(out, error)}) {
    const fs::path from_there = fs::canonical(file.parent_path(), error).lexically_relative(whole);
    if (from_there.empty() || *from_there.begin() == "..") continue;
    throw UsageError("-o " + out.string() + " is there, in the folder of --data, " +
                     folder.string() + ", and would be lost; name another file");
  }
}

// Throws: UsageError when -o names a file that is read, or one of a training.
void check_output_file(const PredictOptions& options, const FoundWeights& weights) {
  if (options.file.empty() || options.file == "-") return;
  check_files_differ({{"--weights", weights.file.string()}, {"-o", options.file}});
  refuse_run_file(options.file);
  check_not_below(options.data, options.file);
  // The files of kind:FILE, kind:FILE:COLUMN, kind:FILE:X:Y and kind:FILE,FILE.
  std::string data = options.data.substr(options.data.find(':') + 1);
  for (int colons = 0; colons < 3; ++colons) {
    const std::size_t comma = std::min(data.find(','), data.size());
    for (const std::string& file : {data, data.substr(0, comma), data.substr(comma)}) {
      const std::string name = file.starts_with(',') ? file.substr(1) : file;
      check_files_differ({{"--data", name}, {"-o", options.file}});
      check_not_below(name, options.file);
    }
    data.resize(std::min(data.rfind(':'), data.size()));
  }
}

// Where the predictions go.
class Destination {
 public:
  Destination(const PredictOptions& options, Output& output)
      : to_(options.file), output_(output), file_("-o", to_ == "-" ? std::string() : to_) {}
  [[nodiscard]] bool is_named() const { return !to_.empty(); }
  void write(const std::string& text) {
    if (to_ == "-") output_.text(text);
    file_.write([&](std::ostream& out) { out << text; });
  }

 private:
  const std::string& to_;
  Output& output_;
  ReportFile file_;
};

// The most likely byte after the text, again and again.
std::string go_on(const train::Model& model, const Task& task, const PredictOptions& options,
                  const std::optional<Bytes>& budget) {
  const train::EvaluationMode evaluation(model.module());
  const torch::NoGradGuard no_grad;
  const auto context = static_cast<std::size_t>(task.samples().shape[0]);
  std::string text = options.prompt;
  Progress progress("byte", options.tokens, options.quiet || options.json);
  for (std::int64_t i = 0; i < options.tokens; ++i) {
    if (stop_requested) throw Interrupted();
    const std::size_t count = std::min(context, text.size());
    at::Tensor tokens = at::empty({1, static_cast<std::int64_t>(count)}, at::kLong);
    for (std::size_t at = 0; at < count; ++at) {
      tokens.mutable_data_ptr<std::int64_t>()[at] =
          static_cast<unsigned char>(text[text.size() - count + at]);
    }
    Scope scope({.budget = budget, .policy = Online{}});
    const at::Tensor scores = model.forward(tokens);
    const std::int64_t dim = task.class_dim() < 0 ? task.class_dim() + 3 : task.class_dim();
    if (scores.dim() != 3 || (dim != 1 && dim != 2) || scores.size(dim) != kBytes ||
        scores.size(3 - dim) != static_cast<std::int64_t>(count)) {
      throw Error("--model " + options.model + ": its forward of " + std::to_string(count) +
                  " tokens gave no scores of " + std::to_string(kBytes) + " bytes for each");
    }
    const at::Tensor last = scores[0].select(2 - dim, static_cast<std::int64_t>(count) - 1);
    if (last.isnan().any().item<bool>()) {
      throw Error("--weights " + options.weights +
                  ": the scores of the next byte are no numbers; take a snapshot from before the "
                  "loss was not finite");
    }
    text += static_cast<char>(last.argmax().item<std::int64_t>());
    progress.advance(1);
  }
  return text;
}

int go_on_with_text(const PredictOptions& options, Output& output, Destination& to) {
  if (!options.data.empty() || options.whole || options.top > 1) {
    throw UsageError(
        "--prompt is a text to go on with, and --data, --all and --top are for samples; leave out "
        "one or the other");
  }
  if (!options.split.empty() || !options.normalize.empty() || options.batch_size != 0) {
    throw UsageError(
        "--split, --normalize and --batch-size are for --data, and do nothing to --prompt; leave "
        "them out");
  }
  const std::optional<Bytes> budget = budget_without_steps(options.budget, "predict");
  const FoundWeights weights = find_weights(options.weights);
  check_output_file(options, weights);
  const TrainingOptions as_before = as_trained(options, weights, /*reads_text=*/true);
  const Task task = Task::of_context(as_before, find_model(as_before));
  if (task.samples().vocabulary != kBytes || task.samples().shape.size() != 1) {
    throw UsageError(
        "--prompt is for a model that reads a text as bytes, and --model " + options.model +
        " does not; take --model gpt, or name such samples in its definition, or leave the "
        "prompt out");
  }
  const train::Model model = task.make_model();
  train::import_weights(model.module(), weights.file);
  const std::string text = go_on(model, task, options, budget);
  if (options.json) {
    output.json(nlohmann::json{{"prompt", options.prompt},
                               {"continuation", text.substr(options.prompt.size())}});
  } else if (!to.is_named()) {
    output.line(text);
  }
  if (to.is_named()) to.write(text);
  return 0;
}

}  // namespace

int predict(const PredictOptions& options, Output& output) {
  if (options.json && options.file == "-") {
    throw UsageError("--json and -o - both write to standard output; leave out one of the two");
  }
  Destination to(options, output);
  if (!options.prompt.empty()) return go_on_with_text(options, output, to);
  const TrainedModel trained(options, "predict");
  check_output_file(options, trained.weights());
  if (trained.source().splits()->vocabulary > 0) {
    throw UsageError("--model " + options.model +
                     " reads texts, and predicts what comes next; give it a text to go on with, "
                     "as --prompt \"Once upon\", instead of --data");
  }
  const Predictions made = predictions_of(trained, options);
  if (const std::int64_t count = without_class(made); count > 0) {
    say("--weights " + options.weights + ": the scores of " + std::to_string(count) +
        " samples are not finite, so these have no class; take a snapshot from before the loss "
        "was not finite");
  }
  if (options.json) output.json(json_of(made));
  if (to.is_named()) {
    to.write(csv_of(made));
  } else if (!options.json) {
    output.text(printable(table_of(made, kShown)));
    if (made.rows.size() > kShown && !options.quiet) {
      say(std::to_string(made.rows.size() - kShown) + " more; -o FILE writes all");
    }
  }
  if (!options.quiet && !options.json) say(summary_of(made));
  return 0;
}

}  // namespace neap::app
