// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "built_in.h"

#include <neap/checkpoint.h>
#include <neap/models.h>
#include <neap/nn.h>

#include <torch/torch.h>

#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <utility>

namespace neap::app {
namespace {

using plugin::Definition;
using plugin::Samples;

constexpr std::int64_t kBytes = 256;  // different tokens of a language model that reads bytes
constexpr std::int64_t kPatch = 4;
const Samples kPictures{.shape = {3, 32, 32}, .classes = 10};

// Runs each block under a checkpoint. The models' blocks are public, so that a program can do this.
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

void refuse_tokens(const Samples& samples) {
  if (samples.vocabulary > 0) {
    throw InvalidArgument("this model reads no tokens; take --model gpt");
  }
}

void refuse_all_but_pictures(const Samples& samples) {
  refuse_tokens(samples);
  if (samples.shape.size() != 3) {
    throw InvalidArgument("this model reads pictures, as 3x32x32; take --model mlp");
  }
}

train::Model mlp(const ModelSizes& sizes, const Samples& samples, bool use_checkpoint) {
  refuse_tokens(samples);
  const auto& shape = samples.shape;
  return by_block(
      nn::MLP(nn::MLPOptions{
          .in = std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()),
          .width = *sizes.width,
          .out = samples.classes,
          .layers = *sizes.layers,
          .activate_last = false}),
      use_checkpoint);
}

// Twice the channels and half the extent after each third of the blocks.
std::vector<std::int64_t> ends_of_thirds(std::int64_t blocks) {
  std::vector<std::int64_t> ends;
  for (const std::int64_t end : {blocks / 3 - 1, blocks * 2 / 3 - 1}) {
    if (end >= 0 && (ends.empty() || end > ends.back())) ends.push_back(end);
  }
  return ends;
}

train::Model resnet(const ModelSizes& sizes, const Samples& samples, bool use_checkpoint) {
  refuse_all_but_pictures(samples);
  const std::int64_t blocks = *sizes.blocks;
  CheckpointedResNet model(
      nn::ResNet(nn::ResNetOptions{.in_channels = samples.shape[0],
                                   .channels = *sizes.width,
                                   .blocks = blocks,
                                   .classes = samples.classes,
                                   .dropout = 0.1,
                                   .downsample_after = ends_of_thirds(blocks)}));
  model->use_checkpoint = use_checkpoint;
  return model;
}

train::Model transformer(const ModelSizes& sizes, const Samples& samples, bool use_checkpoint) {
  refuse_all_but_pictures(samples);
  const std::int64_t height = samples.shape[1], width = samples.shape[2];
  if (height != width || width % kPatch != 0 || width < 2 * kPatch) {
    throw InvalidArgument(
        "this model takes square pictures with a side that 4 divides, from 8 on; take --model "
        "resnet or mlp");
  }
  nn::PatchTransformerOptions options{
      .image = height, .channels = samples.shape[0], .patch = kPatch, .classes = samples.classes};
  options.width = *sizes.width;
  options.heads = *sizes.heads;
  options.layers = *sizes.layers;
  return by_block(nn::PatchTransformer(options), use_checkpoint);
}

train::Model gpt(const ModelSizes& sizes, const Samples& samples, bool use_checkpoint) {
  if (samples.vocabulary == 0 || samples.shape.size() != 1) {
    throw InvalidArgument(
        "this model reads rows of tokens, as 256; give it a text, or take mlp, resnet or "
        "transformer");
  }
  return by_block(nn::GPT(nn::GPTOptions{.vocabulary = samples.vocabulary,
                                         .context = samples.shape[0],
                                         .width = *sizes.width,
                                         .heads = *sizes.heads,
                                         .layers = *sizes.layers}),
                  use_checkpoint);
}

train::Criterion cross_entropy(double smoothing) {
  return [smoothing](const at::Tensor& scores, const at::Tensor& labels) {
    return at::cross_entropy_loss(scores, labels, {}, at::Reduction::Mean, /*ignore_index=*/-100,
                                  smoothing);
  };
}

// Of scores (B, T, classes) and labels (B, T): the mean is over all tokens.
train::Criterion of_tokens(train::Criterion of_rows) {
  return [of_rows = std::move(of_rows)](const at::Tensor& scores, const at::Tensor& labels) {
    return of_rows(scores.flatten(0, 1), labels.flatten());
  };
}

struct BuiltIn {
  ModelSizes sizes;  // where they are left out; nullopt: it has no such size
  // REQUIRES: all sizes that it has.
  train::Model (*make)(const ModelSizes& sizes, const Samples& samples, bool use_checkpoint);
};
const std::map<std::string, BuiltIn>& models() {
  static const std::map<std::string, BuiltIn> models{
      {"mlp", {{.layers = 6, .blocks = {}, .width = 512, .heads = {}}, mlp}},
      {"resnet", {{.layers = {}, .blocks = 16, .width = 16, .heads = {}}, resnet}},
      {"transformer", {{.layers = 4, .blocks = {}, .width = 64, .heads = 4}, transformer}},
      {"gpt", {{.layers = 4, .blocks = {}, .width = 128, .heads = 4}, gpt}},
  };
  return models;
}

// All sizes. Throws: UsageError for a size that is given and that the model does not have.
ModelSizes sizes_of(const RunOptions& options, const BuiltIn& model) {
  constexpr std::array kSizes{
      std::pair("--heads", &ModelSizes::heads), std::pair("--layers", &ModelSizes::layers),
      std::pair("--blocks", &ModelSizes::blocks), std::pair("--width", &ModelSizes::width)};
  ModelSizes sizes = options.sizes;
  std::string known;
  for (const auto& [name, size] : kSizes) {
    if (!(sizes.*size)) sizes.*size = model.sizes.*size;
    if (model.sizes.*size) known += (known.empty() ? "" : ", ") + std::string(name);
  }
  for (const auto& [name, size] : kSizes) {
    if (!(sizes.*size) || model.sizes.*size) continue;
    throw UsageError(std::string(name) + ": --model " + options.model +
                     " has no such size; it has " + known);
  }
  return sizes;
}

}  // namespace

ModelSizes default_sizes(const std::string& model) {
  const auto found = models().find(model);
  return found == models().end() ? ModelSizes() : found->second.sizes;
}

Definition built_in_model(const RunOptions& options) {
  const BuiltIn& model = models().at(options.model);
  Definition definition{
      .make_model = [make = model.make, sizes = sizes_of(options, model)](
                        const Samples& samples,
                        bool use_checkpoint) { return make(sizes, samples, use_checkpoint); },
      .loss = cross_entropy(options.label_smoothing),
      .test_loss = cross_entropy(0),
      .samples = kPictures};
  if (options.model == "gpt") {
    definition.loss = of_tokens(definition.loss);
    definition.test_loss = of_tokens(definition.test_loss);
    definition.class_dim = -1;
    definition.samples = {.shape = {kBytes}, .classes = kBytes, .vocabulary = kBytes};
  }
  return definition;
}

}  // namespace neap::app
