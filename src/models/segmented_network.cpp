// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "models/adopt.h"
#include "models/cut.h"
#include "nn/options.h"

#include <neap/models.h>

#include <string>

namespace neap {
namespace {

constexpr const char* kModel = "SegmentedNetwork";

nn::MLP plain_network(std::int64_t input_dim, const std::vector<std::int64_t>& hidden_dims,
                      std::int64_t num_segments) {
  nn::require_positive(kModel, "input_dim", input_dim);
  const auto layers = static_cast<std::int64_t>(hidden_dims.size());
  nn::require_positive(kModel, "layers (the number of hidden_dims)", layers);
  for (const std::int64_t width : hidden_dims) {
    nn::require_positive(kModel, "one of hidden_dims", width);
  }
  if (num_segments < 1 || num_segments > layers) {
    throw InvalidArgument(std::string(kModel) + ": num_segments is " +
                          std::to_string(num_segments) + "; expected 1 to " +
                          std::to_string(layers) + ", the number of layers");
  }
  return nn::MLP(input_dim, hidden_dims, nn::Activation::ReLU, /*activate_last=*/false);
}

}  // namespace

SegmentedNetworkImpl::SegmentedNetworkImpl(std::int64_t input_dim,
                                           const std::vector<std::int64_t>& hidden_dims,
                                           std::int64_t num_segments)
    : input_dim_(input_dim) {
  const nn::MLP plain = plain_network(input_dim, hidden_dims, num_segments);
  models::adopt(*this, *plain);
  std::vector<Layer> layers;
  for (torch::nn::Sequential block : plain->blocks) {
    layers.push_back([block](const at::Tensor& x) mutable { return block->forward(x); });
  }
  // A layer keeps only its output for the backward, and its size for each row is the width.
  set_layers(std::move(layers), models::ends_of_lowest_peak(hidden_dims, num_segments),
             Inside::Nothing);
}

at::Tensor SegmentedNetworkImpl::forward(const at::Tensor& x) {
  const at::Tensor rows = x.dim() > 2 ? x.flatten(1) : x;
  if (rows.dim() != 2 || rows.size(1) != input_dim_) {
    throw InvalidArgument(std::string(kModel) + ": x of " + nn::shape_text(x) + "; expected (B, " +
                          std::to_string(input_dim_) + "), or anything whose rows flatten to that");
  }
  return run(rows);
}

}  // namespace neap
