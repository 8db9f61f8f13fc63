// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "models/adopt.h"

#include <neap/checkpoint.h>
#include <neap/models.h>

namespace neap {

CheckpointedTransformerLayerImpl::CheckpointedTransformerLayerImpl(std::int64_t d_model,
                                                                   std::int64_t nhead,
                                                                   std::int64_t dim_feedforward)
    : CheckpointedTransformerLayerImpl(
          d_model, nhead, nn::TransformerLayerOptions{.dim_feedforward = dim_feedforward}) {}

CheckpointedTransformerLayerImpl::CheckpointedTransformerLayerImpl(
    std::int64_t d_model, std::int64_t nhead, const nn::TransformerLayerOptions& options)
    : CheckpointedTransformerLayerImpl(nn::TransformerEncoderLayer(d_model, nhead, options)) {}

CheckpointedTransformerLayerImpl::CheckpointedTransformerLayerImpl(
    const nn::TransformerEncoderLayer& layer)
    : layer_(layer) {
  models::adopt(*this, *layer_);
}

at::Tensor CheckpointedTransformerLayerImpl::forward(const at::Tensor& src,
                                                     const at::Tensor& src_mask,
                                                     const at::Tensor& src_key_padding_mask) {
  const auto run = [&](const auto& half) {
    return use_checkpoint ? custom_checkpoint(checkpoint_options, half) : half();
  };
  const at::Tensor x =
      run([&] { return layer_->attention_half(src, src_mask, src_key_padding_mask); });
  return run([&] { return layer_->feed_forward_half(x); });
}

CheckpointedTransformerEncoderImpl::CheckpointedTransformerEncoderImpl(
    std::int64_t num_layers, std::int64_t d_model, std::int64_t nhead,
    const nn::TransformerLayerOptions& options, bool final_norm)
    : CheckpointedTransformerEncoderImpl(
          nn::TransformerEncoder(num_layers, d_model, nhead, options, final_norm)) {}

CheckpointedTransformerEncoderImpl::CheckpointedTransformerEncoderImpl(
    const nn::TransformerEncoder& encoder)
    : encoder_(encoder) {
  models::adopt(*this, *encoder_);
  for (const nn::TransformerEncoderLayer& layer : encoder_->layers) layers_.emplace_back(layer);
}

at::Tensor CheckpointedTransformerEncoderImpl::forward(const at::Tensor& src,
                                                       const at::Tensor& src_mask,
                                                       const at::Tensor& src_key_padding_mask) {
  at::Tensor x = src;
  for (CheckpointedTransformerLayer& layer : layers_) {
    layer->use_checkpoint = use_checkpoint;
    layer->checkpoint_options = checkpoint_options;
    x = layer->forward(x, src_mask, src_key_padding_mask);
  }
  return encoder_->head(x);
}

}  // namespace neap
