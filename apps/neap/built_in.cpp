// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "built_in.h"

#include <neap/checkpoint.h>
#include <neap/models.h>
#include <neap/nn.h>

#include <torch/torch.h>

#include <functional>
#include <map>
#include <numeric>

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

train::Model mlp(const Samples& samples, bool use_checkpoint) {
  refuse_tokens(samples);
  const auto& shape = samples.shape;
  return by_block(
      nn::MLP(nn::MLPOptions{
          .in = std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()),
          .width = 512,
          .out = samples.classes,
          .layers = 6,
          .activate_last = false}),
      use_checkpoint);
}

train::Model resnet(const Samples& samples, bool use_checkpoint) {
  refuse_all_but_pictures(samples);
  CheckpointedResNet model(nn::ResNet(nn::ResNetOptions{.in_channels = samples.shape[0],
                                                        .channels = 16,
                                                        .blocks = 16,
                                                        .classes = samples.classes,
                                                        .dropout = 0.1,
                                                        .downsample_after = {4, 9}}));
  model->use_checkpoint = use_checkpoint;
  return model;
}

train::Model transformer(const Samples& samples, bool use_checkpoint) {
  refuse_all_but_pictures(samples);
  const std::int64_t height = samples.shape[1], width = samples.shape[2];
  if (height != width || width % kPatch != 0 || width < 2 * kPatch) {
    throw InvalidArgument(
        "this model takes square pictures with a side that 4 divides, from 8 on; take --model "
        "resnet or mlp");
  }
  return by_block(nn::PatchTransformer(nn::PatchTransformerOptions{.image = height,
                                                                   .channels = samples.shape[0],
                                                                   .patch = kPatch,
                                                                   .classes = samples.classes}),
                  use_checkpoint);
}

train::Model gpt(const Samples& samples, bool use_checkpoint) {
  if (samples.vocabulary == 0 || samples.shape.size() != 1) {
    throw InvalidArgument(
        "this model reads rows of tokens, as 256; give it a text, or take mlp, resnet or "
        "transformer");
  }
  return by_block(nn::GPT(nn::GPTOptions{.vocabulary = samples.vocabulary,
                                         .context = samples.shape[0],
                                         .width = 128,
                                         .heads = 4,
                                         .layers = 4}),
                  use_checkpoint);
}

// Scores have sizes (B, T, classes), labels (B, T). Returns the mean over all tokens.
at::Tensor cross_entropy_of_tokens(const at::Tensor& scores, const at::Tensor& labels) {
  return torch::cross_entropy_loss(scores.flatten(0, 1), labels.flatten());
}

}  // namespace

Definition built_in_model(const std::string& name) {
  const std::map<std::string, Definition> models{
      {"mlp", {.make_model = mlp, .samples = kPictures}},
      {"resnet", {.make_model = resnet, .samples = kPictures}},
      {"transformer", {.make_model = transformer, .samples = kPictures}},
      {"gpt",
       {.make_model = gpt,
        .loss = cross_entropy_of_tokens,
        .class_dim = -1,
        .samples = {.shape = {kBytes}, .classes = kBytes, .vocabulary = kBytes}}},
  };
  return models.at(name);
}

}  // namespace neap::app
