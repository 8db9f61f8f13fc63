// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "nn/options.h"

#include <neap/nn.h>

#include <cmath>
#include <limits>

namespace neap::nn {
namespace {

torch::nn::LayerNorm layer_norm(std::int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

void require_heads(const char* model, std::int64_t width, std::int64_t heads, double dropout) {
  require_positive(model, "width", width);
  require_positive(model, "heads", heads);
  require_divides(model, "heads", heads, "width", width);
  require_probability(model, "dropout", dropout);
}

// Checks before the members are constructed, because LibTorch's messages do not name our options.
const GPTOptions& valid(const GPTOptions& options) {
  require_positive("GPT", "vocabulary", options.vocabulary);
  require_positive("GPT", "context", options.context);
  require_positive("GPT", "layers", options.layers);
  require_heads("GPT", options.width, options.heads, options.dropout);
  return options;
}

const PatchTransformerOptions& valid(const PatchTransformerOptions& options) {
  require_positive("PatchTransformer", "image", options.image);
  require_positive("PatchTransformer", "channels", options.channels);
  require_positive("PatchTransformer", "patch", options.patch);
  require_positive("PatchTransformer", "layers", options.layers);
  require_positive("PatchTransformer", "classes", options.classes);
  require_divides("PatchTransformer", "patch", options.patch, "image", options.image);
  require_heads("PatchTransformer", options.width, options.heads, options.dropout);
  return options;
}

std::int64_t valid_heads(std::int64_t width, std::int64_t heads, double dropout) {
  require_heads("TransformerBlock", width, heads, dropout);
  return heads;
}

}  // namespace

TransformerBlockImpl::TransformerBlockImpl(std::int64_t width, std::int64_t heads, double dropout,
                                           bool causal)
    : heads_(valid_heads(width, heads, dropout)),
      causal_(causal),
      norm1_(register_module("norm1", layer_norm(width))),
      norm2_(register_module("norm2", layer_norm(width))),
      to_qkv_(register_module("to_qkv", torch::nn::Linear(width, 3 * width))),
      project_(register_module("project", torch::nn::Linear(width, width))),
      up_(register_module("up", torch::nn::Linear(width, 4 * width))),
      down_(register_module("down", torch::nn::Linear(4 * width, width))),
      dropout_(register_module("dropout", torch::nn::Dropout(dropout))) {}

// Scores, mask, softmax, dropout, times values: (B, T, D) -> (B, T, D).
at::Tensor TransformerBlockImpl::attend(const at::Tensor& x) {
  const std::int64_t rows = x.size(0), tokens = x.size(1), width = x.size(2);
  const std::int64_t per_head = width / heads_;
  const std::vector<at::Tensor> qkv = to_qkv_->forward(x).chunk(3, 2);
  const auto by_head = [&](const at::Tensor& all) {
    return all.view({rows, tokens, heads_, per_head}).transpose(1, 2);
  };
  const at::Tensor q = by_head(qkv[0]), k = by_head(qkv[1]), v = by_head(qkv[2]);
  at::Tensor scores = q.matmul(k.transpose(2, 3)) / std::sqrt(static_cast<double>(per_head));
  if (causal_) {
    const at::Tensor later = at::ones({tokens, tokens}, x.options().dtype(at::kBool)).triu(1);
    scores = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
  }
  const at::Tensor weights = dropout_->forward(scores.softmax(-1));
  const at::Tensor mixed = weights.matmul(v).transpose(1, 2).reshape({rows, tokens, width});
  return project_->forward(mixed);
}

at::Tensor TransformerBlockImpl::forward(const at::Tensor& x) {
  const at::Tensor y = x + dropout_->forward(attend(norm1_->forward(x)));
  const at::Tensor wide = at::gelu(up_->forward(norm2_->forward(y)));
  return y + dropout_->forward(down_->forward(wide));
}

GPTImpl::GPTImpl(const GPTOptions& options)
    : context_(valid(options).context),
      words_(register_module("words", torch::nn::Embedding(options.vocabulary, options.width))),
      places_(register_module("places", torch::nn::Embedding(options.context, options.width))),
      dropout_(register_module("dropout", torch::nn::Dropout(options.dropout))),
      norm_(register_module("norm", layer_norm(options.width))),
      scores_(register_module(
          "scores", torch::nn::Linear(
                        torch::nn::LinearOptions(options.width, options.vocabulary).bias(false)))) {
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    blocks.push_back(register_module(
        "block" + std::to_string(layer),
        TransformerBlock(options.width, options.heads, options.dropout, /*causal=*/true)));
  }
}

at::Tensor GPTImpl::stem(const at::Tensor& tokens) {
  if (tokens.dim() != 2 || tokens.size(1) > context_) {
    throw InvalidArgument("GPT: tokens of " + shape_text(tokens) +
                          "; expected (B, T) with T up to context, " + std::to_string(context_));
  }
  const at::Tensor places = at::arange(tokens.size(1), tokens.options());
  return dropout_->forward(words_->forward(tokens) + places_->forward(places));
}

at::Tensor GPTImpl::head(const at::Tensor& x) { return scores_->forward(norm_->forward(x)); }

at::Tensor GPTImpl::forward(const at::Tensor& tokens) {
  at::Tensor x = stem(tokens);
  for (TransformerBlock& block : blocks) x = block->forward(x);
  return head(x);
}

PatchTransformerImpl::PatchTransformerImpl(const PatchTransformerOptions& options)
    : image_(valid(options).image),
      patches_(nullptr),
      places_(nullptr),
      dropout_(register_module("dropout", torch::nn::Dropout(options.dropout))),
      norm_(nullptr),
      scores_(nullptr) {
  const std::int64_t side = options.image / options.patch;
  patches_ = register_module(
      "patches",
      torch::nn::Conv2d(torch::nn::Conv2dOptions(options.channels, options.width, options.patch)
                            .stride(options.patch)));
  places_ = register_module("places", torch::nn::Embedding(side * side, options.width));
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    blocks.push_back(register_module(
        "block" + std::to_string(layer),
        TransformerBlock(options.width, options.heads, options.dropout, /*causal=*/false)));
  }
  norm_ = register_module("norm", layer_norm(options.width));
  scores_ = register_module("scores", torch::nn::Linear(options.width, options.classes));
}

at::Tensor PatchTransformerImpl::stem(const at::Tensor& x) {
  if (x.dim() != 4 || x.size(2) != image_ || x.size(3) != image_) {
    const std::string side = std::to_string(image_);
    throw InvalidArgument("PatchTransformer: pictures of " + shape_text(x) +
                          "; expected (B, channels, " + side + ", " + side + ")");
  }
  const at::Tensor tokens = patches_->forward(x).flatten(2).transpose(1, 2);
  return dropout_->forward(tokens + places_->weight);
}

at::Tensor PatchTransformerImpl::head(const at::Tensor& x) {
  return scores_->forward(norm_->forward(x).mean(1));
}

at::Tensor PatchTransformerImpl::forward(const at::Tensor& x) {
  at::Tensor out = stem(x);
  for (TransformerBlock& block : blocks) out = block->forward(out);
  return head(out);
}

}  // namespace neap::nn
