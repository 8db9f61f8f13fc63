// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "job.h"

#include <neap/checkpoint.h>
#include <neap/models.h>
#include <neap/nn.h>

#include <filesystem>
#include <functional>
#include <numeric>
#include <system_error>
#include <utility>

namespace neap::app {
namespace {

constexpr std::int64_t kClasses = 10;
constexpr std::int64_t kBytes = 256;  // what a token of a language model of bytes may be
constexpr std::int64_t kPatch = 4;

std::string text_of(const Problem& problem) {
  std::string text;
  for (const std::int64_t extent : problem.shape) {
    if (!text.empty()) text += 'x';
    text += std::to_string(extent);
  }
  if (problem.vocabulary > 0) text += " tokens";
  return text;
}

// The models' blocks are public so that a program can put a checkpoint around each.
template <class Holder>
train::Model by_block(Holder model, bool use_checkpoint) {
  if (!use_checkpoint) return model;
  constexpr bool kHasEnds = requires(Holder & holder, const at::Tensor& x) { holder->stem(x); };
  return {*model, [model](const at::Tensor& x) mutable {
            at::Tensor y;
            if constexpr (kHasEnds) {
              y = model->stem(x);
            } else {
              y = x.flatten(1);
            }
            for (auto& block : model->blocks) {
              y = checkpoint([&block](const at::Tensor& in) { return block->forward(in); }, y);
            }
            if constexpr (kHasEnds) y = model->head(y);
            return y;
          }};
}

}  // namespace

Problem default_problem(const std::string& model, std::vector<std::int64_t> shape) {
  if (model == "gpt") {
    Problem problem{std::move(shape), kBytes, kBytes};
    if (problem.shape.empty()) problem.shape = {kBytes};
    if (problem.shape.size() != 1) {
      throw UsageError("--input: --model gpt reads rows of tokens; name their length, as 256");
    }
    return problem;
  }
  Problem problem{std::move(shape), kClasses, 0};
  if (problem.shape.empty()) problem.shape = {3, 32, 32};
  check_fits(model, problem, "--input");
  return problem;
}

void check_fits(const std::string& model, const Problem& problem, const std::string& source) {
  const std::string has =
      "--model " + model + ": " + source + " has samples of " + text_of(problem) + ", and ";
  if ((model == "gpt") != (problem.vocabulary > 0)) {
    throw UsageError(has + (model == "gpt" ? "this model reads tokens; take mlp, resnet or "
                                             "transformer, or --data text:FILE"
                                           : "this model reads no tokens; take --model gpt"));
  }
  if (model == "gpt" || model == "mlp") return;
  if (problem.shape.size() != 3) {
    throw UsageError(has + "this model reads pictures, as 3x32x32; take --model mlp");
  }
  const std::int64_t height = problem.shape[1], width = problem.shape[2];
  if (model == "transformer" && (height != width || width % kPatch != 0 || width < 2 * kPatch)) {
    throw UsageError(has +
                     "this model takes square pictures with a side that 4 divides, from 8 on; take "
                     "--model resnet or mlp");
  }
}

train::Model make_model(const std::string& name, const Problem& problem, bool use_checkpoint) {
  const std::vector<std::int64_t>& shape = problem.shape;
  if (name == "mlp") {
    return by_block(
        nn::MLP(nn::MLPOptions{
            .in = std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()),
            .width = 512,
            .out = problem.classes,
            .layers = 6,
            .activate_last = false}),
        use_checkpoint);
  }
  if (name == "gpt") {
    return by_block(nn::GPT(nn::GPTOptions{.vocabulary = problem.vocabulary,
                                           .context = shape[0],
                                           .width = 128,
                                           .heads = 4,
                                           .layers = 4}),
                    use_checkpoint);
  }
  if (name == "transformer") {
    return by_block(
        nn::PatchTransformer(nn::PatchTransformerOptions{
            .image = shape[1], .channels = shape[0], .patch = kPatch, .classes = problem.classes}),
        use_checkpoint);
  }
  CheckpointedResNet model(nn::ResNet(nn::ResNetOptions{.in_channels = shape[0],
                                                        .channels = 16,
                                                        .blocks = 16,
                                                        .classes = problem.classes,
                                                        .dropout = 0.1,
                                                        .downsample_after = {4, 9}}));
  model->use_checkpoint = use_checkpoint;
  return model;
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const RunOptions& options,
                                                        const torch::nn::Module& model) {
  const double lr = options.lr > 0 ? options.lr : default_lr(options.optimizer);
  const auto parameters = model.parameters();
  if (options.optimizer == "sgd") {
    return std::make_unique<torch::optim::SGD>(
        parameters, torch::optim::SGDOptions(lr).momentum(0.9).weight_decay(5e-4));
  }
  if (options.optimizer == "adam") {
    return std::make_unique<torch::optim::Adam>(parameters, torch::optim::AdamOptions(lr));
  }
  return std::make_unique<torch::optim::AdamW>(parameters,
                                               torch::optim::AdamWOptions(lr).weight_decay(0.01));
}

at::Tensor cross_entropy(const at::Tensor& scores, const at::Tensor& labels) {
  if (labels.dim() == 1) return torch::cross_entropy_loss(scores, labels);
  return torch::cross_entropy_loss(scores.flatten(0, 1), labels.flatten());
}

Job make_job(const RunOptions& options, const Problem& problem) {
  torch::manual_seed(static_cast<std::uint64_t>(options.seed));
  const train::Model model = make_model(options.model, problem);
  return {model, make_optimizer(options, model.module()),
          [model](const at::Tensor& x, const at::Tensor& y) {
            return cross_entropy(model.forward(x), y);
          }};
}

data::Splits open_data(const std::string& spec) {
  std::error_code error;
  if (spec != "fashion-mnist" && spec.find(':') == std::string::npos &&
      !std::filesystem::is_directory(spec, error)) {
    throw Error("--data: " + spec +
                " is not a folder; name one with the four IDX files, or fashion-mnist, "
                "cifar10:DIR, cifar100:DIR, text:FILE, synthetic:3x224x224:1000");
  }
  try {
    return data::open(spec);
  } catch (const InvalidArgument& wrong) {
    throw UsageError(std::string("--data: ") + wrong.what());
  }
}

train::MicroBatch random_batch(std::int64_t rows, const Problem& problem, std::uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  std::vector<std::int64_t> sizes = problem.shape;
  sizes.insert(sizes.begin(), rows);
  if (problem.vocabulary > 0) {
    return {torch::randint(problem.vocabulary, sizes, generator, torch::kLong),
            torch::randint(problem.classes, sizes, generator, torch::kLong)};
  }
  return {torch::randn(sizes, generator),
          torch::randint(problem.classes, {rows}, generator, torch::kLong)};
}

}  // namespace neap::app
