// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Layers of falling widths in three segments. The wide layers are inside of a segment, so they are
// freed. With as many segments as layers, nothing would be freed.
#include <neap/models.h>
#include <neap/neap.h>
#include <torch/torch.h>

#include <iostream>

int main() {
  neap::install();
  torch::manual_seed(1);
  neap::SegmentedNetwork model(784, {512, 256, 128, 64, 32, 10}, /*num_segments=*/3);
  for (const neap::Segment& segment : model->segments()) {
    std::cout << "layers " << segment.begin << " to " << segment.end - 1 << '\n';
  }

  neap::SegmentedNetwork singles(784, {512, 256, 128, 64, 32, 10}, /*num_segments=*/6);
  std::cout << "of 6 segments: " << singles->note() << '\n';

  const at::Tensor pictures = torch::randn({64, 1, 28, 28}), labels = torch::randint(10, {64});
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.1));
  neap::Scope scope;  // for its counts
  double first = 0, last = 0;
  for (int step = 0; step < 20; ++step) {
    const at::Tensor loss = torch::cross_entropy_loss(model->forward(pictures), labels);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    (step == 0 ? first : last) = loss.item<double>();
  }
  std::cout << "the loss " << (last < first ? "falls" : "does not fall") << '\n';
  std::cout << "evictions in 20 steps: " << scope.stats().evictions << '\n';
  const bool below_zero = model->forward(pictures).lt(0).any().item<bool>();
  std::cout << "logits below zero: " << (below_zero ? "yes" : "no") << '\n';
  return last < first && below_zero ? 0 : 1;
}
