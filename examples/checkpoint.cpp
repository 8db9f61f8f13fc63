// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint() around each layer: what a layer computes inside is evicted, and made again in the
// backward.
#include <neap/neap.h>
#include <torch/torch.h>

#include <iostream>
#include <vector>

int main() {
  neap::install();
  std::vector<torch::nn::Linear> up, down;
  for (int i = 0; i < 8; ++i) {
    up.push_back(torch::nn::Linear(128, 512));
    down.push_back(torch::nn::Linear(512, 128));
  }
  auto x = torch::randn({512, 128});

  neap::memory::reset_peak();
  for (std::size_t i = 0; i < up.size(); ++i) {
    const auto block = [&](torch::Tensor in) {
      return down[i]->forward(torch::gelu(up[i]->forward(in)));
    };
    x = x + neap::checkpoint(block, x);
  }
  x.pow(2).mean().backward();
  std::cout << "peak " << neap::Bytes(neap::memory::usage().peak).text() << '\n';

  torch::nn::Sequential model(torch::nn::Linear(128, 128), torch::nn::ReLU(),
                              torch::nn::Linear(128, 128), torch::nn::ReLU());
  auto z = neap::checkpoint_sequential(model, /*segments=*/2, torch::randn({512, 128}));
  z = neap::checkpoint(model, z);  // takes modules as they are, also a Sequential
  z.sum().backward();
}
