// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 6: a network in segments, each a Sequential under a checkpoint.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

#include <algorithm>

struct SegmentedNetwork : torch::nn::Module {
  SegmentedNetwork(std::int64_t input_dim, const std::vector<std::int64_t>& hidden_dims,
                   std::size_t num_segments = 3) {
    std::vector<std::int64_t> dims{input_dim};
    dims.insert(dims.end(), hidden_dims.begin(), hidden_dims.end());
    const std::size_t size = dims.size() / num_segments;
    for (std::size_t i = 0; i < dims.size() - 1; i += size) {
      torch::nn::Sequential segment;
      for (std::size_t j = i; j < std::min(i + size, dims.size() - 1); ++j) {
        segment->push_back(torch::nn::Linear(dims[j], dims[j + 1]));
        segment->push_back(torch::nn::ReLU());
      }
      segments->push_back(segment);
    }
    register_module("segments", segments);
  }
  torch::Tensor forward(torch::Tensor x) {
    for (const auto& segment : *segments) x = neap::checkpoint(segment, x);
    return x;
  }
  torch::nn::ModuleList segments;
};

int main() {
  neap::install();
  SegmentedNetwork model(784, {512, 256, 128, 64, 32, 10});
  const auto x = torch::randn({32, 784});
  neap::SegmentedNetwork ours(784, {512, 256, 128, 64, 32, 10});
  const auto ours_as = [&](bool use_checkpoint) {
    ours->use_checkpoint = use_checkpoint;
    return [&] { return ours->forward(x); };
  };
  return compare(
             model, [&] { return model.forward(x); },
             [&] {
               auto y = x;
               for (const auto& segment : *model.segments) {
                 y = segment->as<torch::nn::Sequential>()->forward(y);
               }
               return y;
             }) +
         exit_status(same_bytes(output_and_gradients(*ours, ours_as(false)),
                                output_and_gradients(*ours, ours_as(true))));
}
