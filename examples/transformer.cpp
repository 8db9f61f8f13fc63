// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A transformer whose attention and feed-forward are checkpointed separately, with the weights of
// LibTorch's own layer.
#include <neap/models.h>
#include <neap/neap.h>
#include <torch/torch.h>

#include <iostream>
#include <limits>
#include <vector>

// Returns the gradients of all parameters, always with the same random numbers. Prints the peak
// above what was there before.
template <class Layer>
std::vector<at::Tensor> gradients(const char* name, Layer& layer, const at::Tensor& x,
                                  const at::Tensor& mask) {
  torch::manual_seed(2);  // seeds dropout
  neap::memory::reset_peak();
  const std::int64_t before = neap::memory::usage().live;
  layer->forward(x, mask).square().mean().backward();
  std::cout << name << ": peak " << neap::Bytes(neap::memory::usage().peak - before).text() << '\n';
  std::vector<at::Tensor> all;
  for (const at::Tensor& parameter : layer->parameters()) all.push_back(parameter.grad());
  return all;
}

int main() {
  neap::install();
  const at::Tensor x = torch::randn({32, 4, 64});  // (T, B, D)
  const at::Tensor later = torch::ones({32, 32}, torch::kBool).triu(1);
  const at::Tensor mask =
      torch::zeros({32, 32}).masked_fill(later, -std::numeric_limits<float>::infinity());

  torch::nn::TransformerEncoder theirs(torch::nn::TransformerEncoderOptions(
      torch::nn::TransformerEncoderLayerOptions(64, 4).dim_feedforward(256), 4));
  neap::CheckpointedTransformerEncoder ours(
      4, 64, 4, neap::nn::TransformerLayerOptions{.dim_feedforward = 256});
  {
    const torch::NoGradGuard no_grad;
    auto parameters = ours->named_parameters();
    for (const auto& weight : theirs->named_parameters()) {
      parameters[weight.key()].copy_(weight.value());
    }
  }
  const auto expected = gradients("LibTorch's", theirs, x, mask);
  const auto found = gradients("checkpointed", ours, x, mask);
  bool same = expected.size() == found.size();
  for (std::size_t i = 0; same && i < found.size(); ++i) same = expected[i].equal(found[i]);
  std::cout << "same gradients: " << (same ? "yes" : "no") << '\n';

  // LibTorch's layer in C++ has neither norm first nor batch first.
  neap::CheckpointedTransformerLayer layer(
      64, 4,
      neap::nn::TransformerLayerOptions{
          .dim_feedforward = 256, .norm_first = true, .batch_first = true});
  const at::Tensor y = layer->forward(torch::randn({4, 32, 64}), later);
  std::cout << "norm first, batch first: " << y.sizes() << '\n';
  return same ? 0 : 1;
}
