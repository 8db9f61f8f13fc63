// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Measured like the layer rules: tests/analysis/estimated_usage_test.cpp compares each model with
// the allocator's counts.
#include "analysis/composites.h"

#include <neap/nn.h>

#include <torch/nn/modules/transformerlayer.h>

#include <memory>
#include <utility>

namespace neap::analysis {
namespace {

// A functional ReLU.
void relu(Walk& walk) {
  walk.make(walk.sizes());
  walk.keep();
}
void gelu(Walk& walk) {
  walk.keep();
  walk.make(walk.sizes());
}
void begin_skip(Walk& walk) { walk.begin_skip(); }
// Adds the skipped tensor.
void add(Walk& walk) {
  walk.end_skip();
  walk.make(walk.sizes());
}
void add_and_relu(Walk& walk) {
  walk.hold_elements(walk.elements());  // the sum
  walk.end_skip();
  relu(walk);
}
void max_pool(Walk& walk, std::int64_t kernel, std::int64_t padding) {
  Sizes sizes = walk.sizes();
  for (std::size_t i = 2; i < sizes.size(); ++i)
    sizes[i] = (sizes[i] + 2 * padding - kernel) / 2 + 1;
  walk.keep();
  walk.make(std::move(sizes));
  walk.keep_bytes(walk.elements() * 8);  // int64 indices of the maxima
}
void mean_of_places(Walk& walk) { walk.make({walk.batch(), walk.sizes()[1]}); }

// Appends the children with this prefix, in order.
void append_children(std::vector<Stage>& stages, const torch::nn::Module& module,
                     const std::string& prefix) {
  for (const auto& child : module.named_children()) {
    if (child.key().starts_with(prefix)) stages.emplace_back(child.key());
  }
}

std::vector<Stage> stages(const nn::ResidualBlockImpl& /*block*/) {
  return {begin_skip, "conv1", "norm1", relu, "dropout", "conv2", "norm2", add_and_relu};
}

std::vector<Stage> stages(const nn::StageBlockImpl& block) {
  const bool downsamples = block.named_children().contains("downsample");
  const auto start = std::make_shared<Walk::Place>();
  const auto end = std::make_shared<Walk::Place>();
  std::vector<Stage> all{Between([=](Walk& walk) {
    *start = walk.place();
    if (!downsamples) walk.begin_skip();
  })};
  for (int i = 1; block.named_children().contains("conv" + std::to_string(i)); ++i) {
    if (i > 1) all.emplace_back(relu);
    all.emplace_back("conv" + std::to_string(i));
    all.emplace_back("bn" + std::to_string(i));
  }
  if (!downsamples) {
    all.emplace_back(add_and_relu);
    return all;
  }
  all.emplace_back([=](Walk& walk) {
    *end = walk.place();
    walk.begin_skip();
    walk.return_to(*start);
  });
  all.emplace_back("downsample");
  all.emplace_back([=](Walk& walk) {
    walk.return_to(*end);
    add_and_relu(walk);
  });
  return all;
}

std::vector<Stage> stages(const nn::ResNetImpl& model) {
  std::vector<Stage> all{"stem"};
  append_children(all, model, "block");
  all.emplace_back(mean_of_places);
  all.emplace_back("classifier");
  return all;
}

std::vector<Stage> stages(const nn::ImageNetResNetImpl& model) {
  std::vector<Stage> all{"conv1", "bn1", relu, [](Walk& walk) { max_pool(walk, 3, 1); }};
  append_children(all, model, "layer");
  all.emplace_back(mean_of_places);
  all.emplace_back("fc");
  return all;
}

// (B, T, 3 D), queries, keys and values in one tensor -> (B, T, D).
void attend(Walk& walk, std::int64_t heads, bool causal, double dropout) {
  const std::int64_t batch = walk.batch(), tokens = walk.sizes()[1], width = walk.sizes()[2] / 3;
  const std::int64_t scores = batch * heads * tokens * tokens;
  walk.hold_elements(2 * scores);
  walk.keep_elements(3 * batch * tokens * width);  // copies by head, for the products
  if (causal) walk.keep_bytes(tokens * tokens);    // the mask: bool
  walk.keep_elements(scores);                      // softmax
  if (dropout > 0) walk.keep_elements(2 * scores);
  walk.make({batch, tokens, width});
}

std::vector<Stage> stages(const nn::TransformerBlockImpl& block) {
  const auto* const dropout = block.named_children()["dropout"]->as<torch::nn::DropoutImpl>();
  const double p = dropout->is_training() ? dropout->options.p() : 0;
  const std::int64_t heads = block.heads();
  const bool causal = block.causal();
  return {begin_skip, "norm1",   "to_qkv", [=](Walk& walk) { attend(walk, heads, causal, p); },
          "project",  "dropout", add,      begin_skip,
          "norm2",    "up",      gelu,     "down",
          "dropout",  add};
}

std::vector<Stage> stages(const nn::GPTImpl& model) {
  std::vector<Stage> all{
      "words", "places",
      [](Walk& walk) { walk.keep_bytes(walk.sizes()[1] * 8); },  // position indices
      "dropout"};
  append_children(all, model, "block");
  all.emplace_back("norm");
  all.emplace_back("scores");
  return all;
}

std::vector<Stage> stages(const nn::PatchTransformerImpl& model) {
  std::vector<Stage> all{
      "patches",
      [](Walk& walk) {
        walk.view({walk.batch(), walk.sizes()[2] * walk.sizes()[3], walk.sizes()[1]});
      },
      "places", "dropout"};
  append_children(all, model, "block");
  all.emplace_back("norm");
  all.emplace_back([](Walk& walk) {
    walk.make({walk.batch(), walk.sizes()[2]});
  });  // mean of tokens
  all.emplace_back("scores");
  return all;
}

std::vector<Stage> stages(const nn::UNetImpl& model) {
  std::vector<Stage> all;
  for (std::size_t level = 0; level < model.down.size(); ++level) {
    if (level > 0) all.emplace_back([](Walk& walk) { max_pool(walk, 2, 0); });
    all.emplace_back("down" + std::to_string(level));
    // Its gradient is a view of that of the concatenation.
    if (level + 1 < model.down.size()) all.emplace_back([](Walk& walk) { walk.begin_skip(2); });
  }
  for (std::size_t level = 0; level < model.up.size(); ++level) {
    all.emplace_back("grow" + std::to_string(level));
    all.emplace_back([](Walk& walk) {  // concatenates the skip, which has as many channels
      walk.end_skip();
      Sizes sizes = walk.sizes();
      sizes[1] *= 2;
      walk.make(std::move(sizes));
    });
    all.emplace_back("up" + std::to_string(level));
  }
  all.emplace_back("scores");
  return all;
}

// Norms after the sums. With norm_first the bytes are the same, and also with GELU instead of ReLU.
std::vector<Stage> encoder_stages() {
  return {begin_skip, "self_attn", "dropout1", add,        "norm1", begin_skip, "linear1",
          relu,       "dropout",   "linear2",  "dropout2", add,     "norm2"};
}
std::vector<Stage> stages(const nn::TransformerEncoderLayerImpl& /*layer*/) {
  return encoder_stages();
}
std::vector<Stage> stages(const torch::nn::TransformerEncoderLayerImpl& /*layer*/) {
  return encoder_stages();
}

template <class... Models>
std::vector<Stage> stages_as_one_of(const torch::nn::Module& module) {
  std::vector<Stage> found;
  const auto try_one = [&](const auto* known) {
    if (known != nullptr) found = stages(*known);
  };
  (try_one(module.as<Models>()), ...);
  return found;
}

}  // namespace

std::vector<Stage> stages_of(const torch::nn::Module& module) {
  return stages_as_one_of<nn::ResidualBlockImpl, nn::StageBlockImpl, nn::ResNetImpl,
                          nn::ImageNetResNetImpl, nn::TransformerBlockImpl, nn::GPTImpl,
                          nn::PatchTransformerImpl, nn::UNetImpl, nn::TransformerEncoderLayerImpl,
                          torch::nn::TransformerEncoderLayerImpl>(module);
}

}  // namespace neap::analysis
