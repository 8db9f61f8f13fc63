// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Checkpoints as many layers as needed to end the forward below a threshold of memory. It takes the
// layers with the cheapest bytes first.
#include <neap/neap.h>
#include <torch/torch.h>

#include <algorithm>
#include <iostream>
#include <vector>

int main() {
  neap::install();
  torch::manual_seed(1);
  std::vector<torch::nn::Sequential> layers;
  for (int i = 0; i < 8; ++i) {
    layers.push_back(torch::nn::Sequential(torch::nn::Linear(256, 256), torch::nn::GELU(),
                                           torch::nn::Linear(256, 256), torch::nn::GELU()));
  }
  const auto x = torch::randn({512, 256});
  for (const char* const threshold : {"64MiB", "20MiB"}) {
    neap::AdaptiveCheckpointing adaptive(neap::Bytes::parse(threshold));
    for (int step = 0; step < 3; ++step) {
      adaptive.forward_with_adaptive_checkpoint(layers, x).sum().backward();
    }
    std::cout << threshold << ": "
              << std::ranges::count(adaptive.decisions(), true,
                                    &neap::AdaptiveDecision::checkpointed)
              << " of " << adaptive.decisions().size() << " layers checkpointed\n";
  }

  // In your own loop, by the rule of the slides. 1 MB is a low threshold.
  neap::AdaptiveCheckpointing by_hand(/*memory_threshold_mb=*/1);
  auto y = x;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const bool decided = by_hand.should_checkpoint(static_cast<std::int64_t>(i), y.sizes());
    y = decided ? neap::checkpoint(layers[i], y) : layers[i]->forward(y);
  }
  y.sum().backward();
  std::cout << "by hand: layer 7 " << (by_hand.checkpoint_map().at(7) ? "checkpointed" : "plain")
            << '\n';
}
