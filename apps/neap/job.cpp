// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "job.h"

#include "built_in.h"
#include "commands.h"
#include "own_model.h"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <filesystem>
#include <tuple>
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

// torch.autocast("cpu", torch.bfloat16).
class Autocast {
 public:
  Autocast()
      : enabled_(at::autocast::is_autocast_enabled(at::kCPU)),
        type_(at::autocast::get_autocast_dtype(at::kCPU)) {
    at::autocast::set_autocast_enabled(at::kCPU, true);
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::increment_nesting();
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, enabled_);
    at::autocast::set_autocast_dtype(at::kCPU, type_);
  }

 private:
  bool enabled_;
  at::ScalarType type_;
};

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

plugin::Definition find_model(const RunOptions& options) {
  if (!names_library(options.model)) return built_in_model(options);
  const ModelSizes& sizes = options.sizes;
  if (sizes.layers || sizes.blocks || sizes.width || sizes.heads) {
    throw UsageError("--model " + options.model +
                     ": --layers, --blocks, --width and --heads are of neap's own models; set the "
                     "sizes of yours in its library");
  }
  if (options.label_smoothing > 0) {
    throw UsageError("--model " + options.model +
                     ": --label-smoothing is of the loss of neap's own models; set it in the loss "
                     "of its library");
  }
  return load_own_model(options.model);
}

PlanMode parse_policy(const TrainingOptions& options) {
  const std::string& text = options.policy;
  if (text == "planned") return Planned{.cache = options.plan_cache};
  if (!options.plan_cache.empty()) {
    throw UsageError(
        "--plan-cache keeps the plans of --policy planned, and there are none with --policy " +
        text + "; leave one of the two out");
  }
  if (text == "online") return Online{};
  if (text.find_first_of("./") != std::string::npos) return Fixed{text};
  throw UsageError("--policy: '" + text +
                   "'; expected planned, online, or the file of a plan, as ./plan.jsonl");
}

std::optional<Offload> parse_offload(const TrainingOptions& options) {
  if (options.offload.empty()) return std::nullopt;
  if (options.budget == "none") {
    throw UsageError("--offload " + options.offload +
                     " copies what does not fit a budget, and there is none; name a --budget");
  }
  Offload offload{.directory = options.offload};
  if (!options.offload_limit.empty()) {
    try {
      offload.limit = Bytes::parse(options.offload_limit);
    } catch (const InvalidArgument& error) {
      throw UsageError(std::string("--offload-limit: ") + error.what());
    }
  }
  return offload;
}

void check_parts(std::int64_t accumulate, std::int64_t batch_size) {
  if (accumulate <= batch_size) return;
  throw UsageError("--accumulate " + std::to_string(accumulate) + " parts of a batch of " +
                   std::to_string(batch_size) + "; take at most one part a sample");
}

Task Task::without_data(const RunOptions& options, plugin::Definition definition,
                        std::vector<std::int64_t> shape) {
  plugin::Samples samples = definition.samples;
  std::string origin = "its definition";
  if (!shape.empty()) {
    samples.shape = std::move(shape);
    origin = "--input";
  }
  const std::string model = "--model " + options.model;
  if (samples.shape.empty()) {
    throw UsageError(model + ": its definition names no shape; set samples.shape in it");
  }
  if (!definition.make_batch && samples.classes < 1) {
    throw UsageError(model + ": its definition names neither classes nor batches; set " +
                     "samples.classes or make_batch in it");
  }
  return {options, std::move(definition), std::move(samples), std::move(origin)};
}

Task Task::of_context(const TrainingOptions& options, plugin::Definition definition) {
  if (!options.context) return without_data(options, std::move(definition));
  const std::string context = "--context " + std::to_string(*options.context);
  if (definition.samples.vocabulary == 0 || definition.samples.shape.size() != 1) {
    throw UsageError(context + " is for rows of tokens, and --model " + options.model +
                     " reads none; leave it out, or take --model gpt");
  }
  definition.samples.shape = {*options.context};
  return without_data(options, std::move(definition));
}

Task::Task(const RunOptions& options, plugin::Definition definition, plugin::Samples samples,
           std::string origin)
    : options_(options),
      definition_(std::move(definition)),
      samples_(std::move(samples)),
      origin_(std::move(origin)) {
  const bool meant = std::ranges::all_of(samples_.shape, [](std::int64_t n) { return n > 0; }) &&
                     samples_.classes >= 0 && samples_.vocabulary >= 0;
  if (!meant) {
    throw UsageError("--model " + options.model + ": " + origin_ + " has samples of " +
                     text_of(samples_) + ", " + std::to_string(samples_.classes) +
                     " classes and a vocabulary of " + std::to_string(samples_.vocabulary) +
                     "; name extents of at least 1 and no number below 0");
  }
  if (!is_optimizer(optimizer_name())) {
    throw UsageError("--model " + options.model + ": its optimizer '" + optimizer_name() +
                     "' is none of sgd, adam and adamw; name one with --optimizer");
  }
  if (!options.betas.empty() && optimizer_name() == "sgd") {
    throw UsageError(
        "--betas are of adam and adamw, and the optimizer is sgd; leave them out, or "
        "name another --optimizer");
  }
}

train::Model Task::make_model(bool use_checkpoint) const {
  try {
    const train::Model model = at_library("--model " + options_.model + ": make_model", [&] {
      return definition_.make_model(samples_, use_checkpoint);
    });
    if (!options_.bf16) return model;
    // The loss has all digits, as autocast has it.
    return {model.module(), [model](const at::Tensor& x) {
              const Autocast autocast;
              return model.forward(x).to(at::kFloat);
            }};
  } catch (const InvalidArgument& error) {
    throw UsageError("--model " + options_.model + ": " + origin_ + " has samples of " +
                     text_of(samples_) + ", and " + error.what());
  }
}

train::Criterion Task::loss() const { return stoppable(definition_.loss); }

train::Criterion Task::test_loss() const {
  return stoppable(definition_.test_loss ? definition_.test_loss : definition_.loss);
}

train::Criterion Task::stoppable(train::Criterion loss) {
  return [loss = std::move(loss)](const at::Tensor& output, const at::Tensor& target) {
    if (stop_requested && !FinishSteps::on()) throw Interrupted();
    return loss(output, target);
  };
}

std::string Task::own_optimizer() const {
  return definition_.optimizer.empty() ? "adamw" : definition_.optimizer;
}

std::string Task::optimizer_name() const {
  return options_.optimizer.empty() ? own_optimizer() : options_.optimizer;
}

double Task::learning_rate() const {
  if (options_.lr > 0) return options_.lr;
  if (definition_.lr > 0 && optimizer_name() == own_optimizer()) return definition_.lr;
  if (optimizer_name() == "sgd") return 0.05;
  return optimizer_name() == "adam" ? 0.001 : 0.002;
}

double Task::weight_decay() const {
  if (options_.weight_decay) return *options_.weight_decay;
  if (optimizer_name() == "sgd") return 5e-4;
  return optimizer_name() == "adam" ? 0 : 0.01;
}

std::unique_ptr<torch::optim::Optimizer> Task::make_optimizer(
    const torch::nn::Module& model) const {
  const double lr = learning_rate();
  const auto parameters = model.parameters();
  if (optimizer_name() == "sgd") {
    return std::make_unique<torch::optim::SGD>(
        parameters, torch::optim::SGDOptions(lr).momentum(0.9).weight_decay(weight_decay()));
  }
  const std::tuple betas = options_.betas.empty()
                               ? torch::optim::AdamOptions().betas()
                               : std::tuple(options_.betas[0], options_.betas[1]);
  if (optimizer_name() == "adam") {
    return std::make_unique<torch::optim::Adam>(
        parameters, torch::optim::AdamOptions(lr).betas(betas).weight_decay(weight_decay()));
  }
  return std::make_unique<torch::optim::AdamW>(
      parameters, torch::optim::AdamWOptions(lr).betas(betas).weight_decay(weight_decay()));
}

Job Task::make_job() const {
  torch::manual_seed(static_cast<std::uint64_t>(options_.seed));
  const train::Model model = make_model();
  return {model, make_optimizer(model.module()),
          [model, loss = loss()](const at::Tensor& x, const at::Tensor& y) {
            return loss(model.forward(x), y);
          }};
}

train::MicroBatch Task::make_batch(std::int64_t rows, std::uint64_t seed) const {
  if (!definition_.make_batch) return noise(rows, samples_, seed);
  train::MicroBatch batch = at_library("--model " + options_.model + ": make_batch", [&] {
    return definition_.make_batch(rows, samples_, seed);
  });
  for (const at::Tensor& tensor : {batch.x, batch.y}) {
    if (tensor.defined() && tensor.dim() > 0 && tensor.size(0) == rows) continue;
    throw Error("--model " + options_.model + ": make_batch was asked for " + std::to_string(rows) +
                " rows and returned " +
                (tensor.defined() && tensor.dim() > 0 ? std::to_string(tensor.size(0)) : "none") +
                "; return x and y of as many rows as it is asked for");
  }
  return batch;
}

train::MicroBatch Task::batch_of_step(std::int64_t rows, std::int64_t step) const {
  return make_batch(
      rows, static_cast<std::uint64_t>(options_.seed) * 1000003 + static_cast<std::uint64_t>(step));
}

std::string Task::name_of_step(std::int64_t rows) const {
  // For a library only the file name, because its folder concerns nobody else.
  std::string name = std::filesystem::path(options_.model).filename().string();
  const ModelSizes& sizes = options_.sizes;
  const auto add_size = [&](const char* what, const std::optional<std::int64_t>& size) {
    if (size) name += " " + std::to_string(*size) + what;
  };
  add_size(" layers", sizes.layers);
  add_size(" blocks", sizes.blocks);
  add_size(" wide", sizes.width);
  add_size(" heads", sizes.heads);
  return name + (options_.bf16 ? " bf16 " : " ") + text_of(samples_) + " batch " +
         std::to_string(rows) + " " + optimizer_name();
}

std::int64_t Task::batch_size(std::int64_t named, std::int64_t other) const {
  if (named > 0) return named;
  return definition_.batch_size > 0 ? definition_.batch_size : other;
}

}  // namespace neap::app
