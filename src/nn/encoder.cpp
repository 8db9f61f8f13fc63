// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "nn/options.h"

#include <neap/nn.h>

#include <torch/nn/modules/container/modulelist.h>

#include <limits>
#include <string>

namespace neap::nn {
namespace {

constexpr const char* kModel = "TransformerEncoderLayer";

torch::nn::LayerNorm layer_norm(std::int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

// Checks before the members are constructed, because LibTorch's messages do not name our options.
const TransformerLayerOptions& valid(std::int64_t d_model, std::int64_t nhead,
                                     const TransformerLayerOptions& options) {
  require_positive(kModel, "d_model", d_model);
  require_positive(kModel, "nhead", nhead);
  require_divides(kModel, "nhead", nhead, "d_model", d_model);
  require_positive(kModel, "dim_feedforward", options.dim_feedforward);
  require_probability(kModel, "dropout", options.dropout);
  return options;
}

void require_shape(const char* name, const at::Tensor& mask, at::IntArrayRef shape,
                   const char* letters) {
  if (mask.sizes() == shape) return;
  throw InvalidArgument(std::string(kModel) + ": " + name + " of " + shape_text(mask) +
                        "; expected " + letters + ", here (" + std::to_string(shape[0]) + ", " +
                        std::to_string(shape[1]) + ")");
}

// The mask in the form that is added to the scores.
at::Tensor additive(const at::Tensor& mask, at::ScalarType type) {
  if (!mask.defined() || mask.scalar_type() == type) return mask;
  if (mask.scalar_type() == at::kBool) {
    return at::zeros(mask.sizes(), mask.options().dtype(type))
        .masked_fill_(mask, -std::numeric_limits<double>::infinity());
  }
  throw InvalidArgument(std::string(kModel) + ": src_mask of type " +
                        at::toString(mask.scalar_type()) + "; expected Bool, or " +
                        at::toString(type) + " as src is");
}

}  // namespace

TransformerEncoderLayerImpl::TransformerEncoderLayerImpl(std::int64_t d_model, std::int64_t nhead,
                                                         const TransformerLayerOptions& options)
    : options_(valid(d_model, nhead, options)),
      self_attn_(register_module(
          "self_attn",
          torch::nn::MultiheadAttention(
              torch::nn::MultiheadAttentionOptions(d_model, nhead).dropout(options.dropout)))),
      linear1_(register_module("linear1", torch::nn::Linear(d_model, options.dim_feedforward))),
      dropout_(register_module("dropout", torch::nn::Dropout(options.dropout))),
      linear2_(register_module("linear2", torch::nn::Linear(options.dim_feedforward, d_model))),
      norm1_(register_module("norm1", layer_norm(d_model))),
      norm2_(register_module("norm2", layer_norm(d_model))),
      dropout1_(register_module("dropout1", torch::nn::Dropout(options.dropout))),
      dropout2_(register_module("dropout2", torch::nn::Dropout(options.dropout))) {}

at::Tensor TransformerEncoderLayerImpl::attention_half(const at::Tensor& src,
                                                       const at::Tensor& src_mask,
                                                       const at::Tensor& src_key_padding_mask) {
  const std::int64_t width = self_attn_->options.embed_dim();
  if (src.dim() != 3 || src.size(2) != width) {
    throw InvalidArgument(std::string(kModel) + ": src of " + shape_text(src) + "; expected (" +
                          (options_.batch_first ? "B, T, " : "T, B, ") + std::to_string(width) +
                          ")");
  }
  const std::int64_t rows = src.size(options_.batch_first ? 0 : 1);
  const std::int64_t tokens = src.size(options_.batch_first ? 1 : 0);
  if (src_mask.defined()) require_shape("src_mask", src_mask, {tokens, tokens}, "(T, T)");
  if (src_key_padding_mask.defined()) {
    require_shape("src_key_padding_mask", src_key_padding_mask, {rows, tokens}, "(B, T)");
    if (src_key_padding_mask.scalar_type() != at::kBool) {
      throw InvalidArgument(std::string(kModel) + ": src_key_padding_mask of type " +
                            at::toString(src_key_padding_mask.scalar_type()) +
                            "; expected Bool, true for tokens that nobody may see");
    }
  }

  const at::Tensor read = options_.norm_first ? norm1_->forward(src) : src;
  const at::Tensor by_time = options_.batch_first ? read.transpose(0, 1) : read;
  at::Tensor mixed = std::get<0>(self_attn_->forward(by_time, by_time, by_time,
                                                     src_key_padding_mask, /*need_weights=*/false,
                                                     additive(src_mask, src.scalar_type())));
  if (options_.batch_first) mixed = mixed.transpose(0, 1);
  const at::Tensor sum = src + dropout1_->forward(mixed);
  return options_.norm_first ? sum : norm1_->forward(sum);
}

at::Tensor TransformerEncoderLayerImpl::feed_forward_half(const at::Tensor& x) {
  const at::Tensor read = options_.norm_first ? norm2_->forward(x) : x;
  at::Tensor wide = linear1_->forward(read);
  wide = options_.activation == Activation::ReLU ? wide.relu() : at::gelu(wide);
  const at::Tensor sum = x + dropout2_->forward(linear2_->forward(dropout_->forward(wide)));
  return options_.norm_first ? sum : norm2_->forward(sum);
}

at::Tensor TransformerEncoderLayerImpl::forward(const at::Tensor& src, const at::Tensor& src_mask,
                                                const at::Tensor& src_key_padding_mask) {
  return feed_forward_half(attention_half(src, src_mask, src_key_padding_mask));
}

TransformerEncoderImpl::TransformerEncoderImpl(std::int64_t num_layers, std::int64_t d_model,
                                               std::int64_t nhead,
                                               const TransformerLayerOptions& options,
                                               bool final_norm) {
  require_positive("TransformerEncoder", "num_layers", num_layers);
  torch::nn::ModuleList list;
  for (std::int64_t i = 0; i < num_layers; ++i) {
    layers.emplace_back(d_model, nhead, options);
    list->push_back(layers.back());
  }
  register_module("layers", list);
  if (final_norm) norm_ = register_module("norm", layer_norm(d_model));
}

at::Tensor TransformerEncoderImpl::head(const at::Tensor& x) {
  return norm_ ? norm_->forward(x) : x;
}

at::Tensor TransformerEncoderImpl::forward(const at::Tensor& src, const at::Tensor& src_mask,
                                           const at::Tensor& src_key_padding_mask) {
  at::Tensor x = src;
  for (TransformerEncoderLayer& layer : layers) {
    x = layer->forward(x, src_mask, src_key_padding_mask);
  }
  return head(x);
}

}  // namespace neap::nn
