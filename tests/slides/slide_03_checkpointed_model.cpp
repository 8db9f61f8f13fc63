// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 3: a list of layers, checkpointed by threes.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

#include <algorithm>

struct CheckpointedModel : torch::nn::Module {
  explicit CheckpointedModel(int num_layers = 10) {
    for (int i = 0; i < num_layers; ++i) layers->push_back(torch::nn::Linear(512, 512));
    register_module("layers", layers);
  }
  torch::Tensor forward(torch::Tensor x) {
    for (std::size_t i = 0; i < layers->size(); i += 3) {
      x = neap::checkpoint([&](torch::Tensor in) { return forward_segment(in, i, i + 3); }, x);
    }
    return x;
  }
  torch::Tensor forward_segment(torch::Tensor x, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < std::min(end, layers->size()); ++i) {
      x = torch::relu(layers[i]->as<torch::nn::Linear>()->forward(x));
    }
    return x;
  }
  torch::nn::ModuleList layers;
};

int main() {
  neap::install();
  CheckpointedModel model;
  const auto x = torch::randn({32, 512});
  neap::CheckpointedModel ours;  // the same, ready-made
  {
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < model.parameters().size(); ++i) {
      ours->parameters()[i].copy_(model.parameters()[i]);
    }
  }
  const auto plain = [&] { return model.forward_segment(x, 0, 10); };
  const bool same = same_bytes(output_and_gradients(model, plain),
                               output_and_gradients(*ours, [&] { return ours->forward(x); }));
  return compare(
             model, [&] { return model.forward(x); }, plain) +
         exit_status(same);
}
