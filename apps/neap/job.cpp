// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "job.h"

#include "built_in.h"
#include "own_model.h"

#include <utility>

namespace neap::app {
namespace {

std::string text_of(const plugin::Samples& samples) {
  std::string text;
  for (const std::int64_t extent : samples.shape) {
    if (!text.empty()) text += 'x';
    text += std::to_string(extent);
  }
  if (samples.vocabulary > 0) text += " tokens";
  return text;
}

train::MicroBatch noise(std::int64_t rows, const plugin::Samples& samples, std::uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  std::vector<std::int64_t> sizes = samples.shape;
  sizes.insert(sizes.begin(), rows);
  if (samples.vocabulary > 0) {
    return {torch::randint(samples.vocabulary, sizes, generator, torch::kLong),
            torch::randint(samples.classes, sizes, generator, torch::kLong)};
  }
  return {torch::randn(sizes, generator),
          torch::randint(samples.classes, {rows}, generator, torch::kLong)};
}

}  // namespace

plugin::Definition find_model(const std::string& name) {
  return names_library(name) ? load_own_model(name) : built_in_model(name);
}

train::Budget parse_budget(const std::string& text) {
  try {
    return train::Budget::parse(text);
  } catch (const InvalidArgument& error) {
    throw UsageError(std::string("--budget: ") + error.what());
  }
}

void check_parts(std::int64_t accumulate, std::int64_t batch_size) {
  if (accumulate <= batch_size) return;
  throw UsageError("--accumulate " + std::to_string(accumulate) + " parts of a batch of " +
                   std::to_string(batch_size) + "; take at most one part a sample");
}

Task Task::without_data(const RunOptions& options, plugin::Definition definition,
                        std::vector<std::int64_t> shape) {
  plugin::Samples samples = definition.samples;
  std::string source = "its definition";
  if (!shape.empty()) {
    samples.shape = std::move(shape);
    source = "--input";
  }
  const std::string model = "--model " + options.model;
  if (samples.shape.empty()) {
    throw UsageError(model +
                     ": its definition names no shape; set samples.shape in it, or name one " +
                     "with --input");
  }
  if (!definition.make_batch && samples.classes < 1) {
    throw UsageError(model + ": its definition names neither classes nor batches; set " +
                     "samples.classes or make_batch in it");
  }
  return {options, std::move(definition), std::move(samples), std::move(source)};
}

Task::Task(const RunOptions& options, plugin::Definition definition, plugin::Samples samples,
           std::string source)
    : options_(options),
      definition_(std::move(definition)),
      samples_(std::move(samples)),
      source_(std::move(source)) {
  if (!is_optimizer(optimizer_name())) {
    throw UsageError("--model " + options.model + ": its optimizer '" + optimizer_name() +
                     "' is none of sgd, adam and adamw; name one with --optimizer");
  }
}

train::Model Task::make_model(bool use_checkpoint) const {
  try {
    return definition_.make_model(samples_, use_checkpoint);
  } catch (const InvalidArgument& error) {
    throw UsageError("--model " + options_.model + ": " + source_ + " has samples of " +
                     text_of(samples_) + ", and " + error.what());
  }
}

const std::string& Task::optimizer_name() const {
  if (!options_.optimizer.empty()) return options_.optimizer;
  static const std::string kDefault = "adamw";
  return definition_.optimizer.empty() ? kDefault : definition_.optimizer;
}

double Task::learning_rate() const {
  if (options_.lr > 0) return options_.lr;
  // The definition's goes with the definition's optimizer.
  if (definition_.lr > 0 && options_.optimizer.empty()) return definition_.lr;
  if (optimizer_name() == "sgd") return 0.05;
  return optimizer_name() == "adam" ? 0.001 : 0.002;
}

std::unique_ptr<torch::optim::Optimizer> Task::make_optimizer(
    const torch::nn::Module& model) const {
  const double lr = learning_rate();
  const auto parameters = model.parameters();
  if (optimizer_name() == "sgd") {
    return std::make_unique<torch::optim::SGD>(
        parameters, torch::optim::SGDOptions(lr).momentum(0.9).weight_decay(5e-4));
  }
  if (optimizer_name() == "adam") {
    return std::make_unique<torch::optim::Adam>(parameters, torch::optim::AdamOptions(lr));
  }
  return std::make_unique<torch::optim::AdamW>(parameters,
                                               torch::optim::AdamWOptions(lr).weight_decay(0.01));
}

Job Task::make_job() const {
  torch::manual_seed(static_cast<std::uint64_t>(options_.seed));
  const train::Model model = make_model();
  return {model, make_optimizer(model.module()),
          [model, loss = definition_.loss](const at::Tensor& x, const at::Tensor& y) {
            return loss(model.forward(x), y);
          }};
}

train::MicroBatch Task::make_batch(std::int64_t rows, std::uint64_t seed) const {
  if (!definition_.make_batch) return noise(rows, samples_, seed);
  train::MicroBatch batch = definition_.make_batch(rows, samples_, seed);
  for (const at::Tensor& tensor : {batch.x, batch.y}) {
    if (tensor.defined() && tensor.dim() > 0 && tensor.size(0) == rows) continue;
    throw Error("--model " + options_.model + ": make_batch was asked for " + std::to_string(rows) +
                " rows and returned " +
                (tensor.defined() && tensor.dim() > 0 ? std::to_string(tensor.size(0)) : "none") +
                "; return x and y of as many rows as it is asked for");
  }
  return batch;
}

std::int64_t Task::batch_size(std::int64_t named, std::int64_t other) const {
  if (named > 0) return named;
  return definition_.batch_size > 0 ? definition_.batch_size : other;
}

}  // namespace neap::app
