// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 10: checkpoints where memory is short, on the model of slide 3.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

struct CheckpointedModel : torch::nn::Module {
  explicit CheckpointedModel(int num_layers = 10) {
    for (int i = 0; i < num_layers; ++i) layers->push_back(torch::nn::Linear(512, 512));
    register_module("layers", layers);
  }
  torch::nn::ModuleList layers;
};

int main() {
  neap::install();
  CheckpointedModel model;
  neap::CheckpointedModel ours;
  const auto x = torch::randn({32, 512});
  neap::AdaptiveCheckpointing adaptive(1000), tight(1);
  const auto plain = [&] {
    auto y = x;
    for (const auto& layer : *model.layers) y = layer->as<torch::nn::Linear>()->forward(y);
    return y;
  };
  const auto by_hand = [&] {
    auto y = x;
    for (std::size_t i = 0; i < model.layers->size(); ++i) {
      auto* const layer = model.layers[i]->as<torch::nn::Linear>();
      const bool decided = tight.should_checkpoint(static_cast<std::int64_t>(i), y.sizes());
      y = decided ? neap::checkpoint(*layer, y) : layer->forward(y);
    }
    return y;
  };
  const int roomy = compare(
      model, [&] { return adaptive.forward_with_adaptive_checkpoint(model, x); }, plain);
  const int all = compare(
      model, [&] { return tight.forward_with_adaptive_checkpoint(model, x); }, plain);
  const int hand = compare(model, by_hand, plain);
  ours->use_checkpoint = false;
  const int ready = compare(
      *ours, [&] { return tight.forward_with_adaptive_checkpoint(ours, x); },
      [&] { return ours->forward(x); });
  const bool decided = !adaptive.checkpoint_map().at(0) && tight.checkpoint_map().at(0);
  std::cout << tight.text();
  return roomy + all + hand + ready + (decided ? 0 : 1);
}
