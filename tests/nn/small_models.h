// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/nn/small_models.h: options of a small model of each kind, inputs for them, and the number
// of their parameters.
#pragma once

#include <neap/nn.h>

#include <torch/types.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace neap::nn::small_models {

using Shape = std::vector<std::int64_t>;

inline constexpr std::uint64_t kSeed = 7;

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() && x.dtype() == y.dtype() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

inline at::Tensor pictures(const Shape& shape) { return torch::randn(shape); }
inline at::Tensor tokens(std::int64_t rows, std::int64_t time, std::int64_t words) {
  return torch::randint(words, {rows, time}, torch::kInt64);
}

// The number of parameters.
inline std::int64_t count(const torch::nn::Module& model) {
  std::int64_t sum = 0;
  for (const at::Tensor& parameter : model.parameters()) sum += parameter.numel();
  return sum;
}
// Those of a linear layer.
constexpr std::int64_t linear(std::int64_t in, std::int64_t out) { return in * out + out; }

// Every option differs from its default. The models that have dropout use it.
inline const MLPOptions kMLP{.in = 12, .width = 8, .out = 5, .layers = 3, .activate_last = false};
inline const ResNetOptions kResNet{.in_channels = 1,
                                   .channels = 4,
                                   .blocks = 3,
                                   .classes = 6,
                                   .dropout = 0.2,
                                   .stem_kernel = 5,
                                   .stem_stride = 2,
                                   .downsample_after = {0, 1}};
inline const GPTOptions kGPT{
    .vocabulary = 11, .context = 9, .width = 8, .heads = 2, .layers = 2, .dropout = 0.2};
inline const PatchTransformerOptions kPatches{.image = 8,
                                              .channels = 2,
                                              .patch = 2,
                                              .width = 12,
                                              .heads = 3,
                                              .layers = 2,
                                              .classes = 5,
                                              .dropout = 0.2};
inline const UNetOptions kUNet{.in_channels = 2, .classes = 3, .widths = {3, 5, 6}};

}  // namespace neap::nn::small_models
