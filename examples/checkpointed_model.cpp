// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Linear layers that are checkpointed in segments, and a list of your own layers.
#include <neap/models.h>
#include <neap/neap.h>
#include <torch/torch.h>

#include <iostream>

// Runs a training step. Prints the bytes that stay between forward and backward, and the peak. Both
// are above what was there before.
template <class Model>
double step(const char* name, Model& model, const at::Tensor& x) {
  torch::optim::SGD optimizer(model->parameters(), 0.01);
  neap::memory::reset_peak();
  const std::int64_t before = neap::memory::usage().live;
  at::Tensor loss = model->forward(x).square().mean();
  const std::int64_t kept = neap::memory::usage().live - before;
  loss.backward();
  optimizer.step();
  std::cout << name << ": kept " << neap::Bytes(kept).text() << ", peak "
            << neap::Bytes(neap::memory::usage().peak - before).text() << '\n';
  return loss.item<double>();
}

neap::CheckpointedModel model_with(const neap::Segmentation& segmentation, bool use_checkpoint) {
  torch::manual_seed(1);
  return neap::CheckpointedModel(neap::CheckpointedModelOptions{.num_layers = 16,
                                                                .width = 128,
                                                                .segmentation = segmentation,
                                                                .use_checkpoint = use_checkpoint});
}

int main() {
  neap::install();
  const at::Tensor x = torch::randn({1024, 128});
  const auto by_three = neap::Segmentation::by_size(3), by_root = neap::Segmentation::square_root();

  auto plain = model_with(by_three, /*use_checkpoint=*/false);
  auto threes = model_with(by_three, true), roots = model_with(by_root, true);
  const double expected = step("plain", plain, x);
  const bool same = step("segments of 3 layers", threes, x) == expected &&
                    step("sqrt(16) segments", roots, x) == expected;
  std::cout << "same loss: " << (same ? "yes" : "no") << '\n';

  torch::nn::Sequential layers(
      torch::nn::Linear(128, 64), torch::nn::LayerNorm(torch::nn::LayerNormOptions({64})),
      torch::nn::GELU(), torch::nn::Dropout(0.1), torch::nn::Linear(64, 10));
  neap::CheckpointedModel mine(layers, neap::Segmentation::by_count(2));
  for (const neap::Segment& segment : mine->segments()) {
    std::cout << "mine: layers " << segment.begin << " to " << segment.end - 1 << '\n';
  }
  mine->forward(x).sum().backward();
  return same ? 0 : 1;
}
