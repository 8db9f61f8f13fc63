// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 8: attention and feed-forward, each under a checkpoint.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

struct CheckpointedTransformerLayer : torch::nn::Module {
  CheckpointedTransformerLayer(std::int64_t d_model, std::int64_t nhead,
                               std::int64_t dim_feedforward = 2048)
      : self_attn(register_module("self_attn", torch::nn::MultiheadAttention(d_model, nhead))),
        feed_forward(register_module(
            "feed_forward",
            torch::nn::Sequential(torch::nn::Linear(d_model, dim_feedforward), torch::nn::ReLU(),
                                  torch::nn::Linear(dim_feedforward, d_model)))),
        norm1(register_module("norm1", torch::nn::LayerNorm(std::vector<std::int64_t>{d_model}))),
        norm2(register_module("norm2", torch::nn::LayerNorm(std::vector<std::int64_t>{d_model}))) {}

  torch::Tensor forward(torch::Tensor x) {
    const auto attention_block = [&](torch::Tensor in) {
      return std::get<0>(self_attn(in, in, in));
    };
    x = norm1(x + neap::checkpoint(attention_block, x));
    return norm2(x + neap::checkpoint(feed_forward, x));
  }
  torch::nn::MultiheadAttention self_attn;
  torch::nn::Sequential feed_forward;
  torch::nn::LayerNorm norm1, norm2;
};

int main() {
  neap::install();
  CheckpointedTransformerLayer model(32, 4, 64);
  const auto x = torch::randn({10, 2, 32});
  return compare(
      model, [&] { return model.forward(x); },
      [&] {
        const auto y = model.norm1(x + std::get<0>(model.self_attn(x, x, x)));
        return model.norm2(y + model.feed_forward->forward(y));
      });
}
