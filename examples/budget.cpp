// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A training loop inside a budget. Only the lines with `neap` are new.
#include <neap/neap.h>
#include <torch/torch.h>

#include <iostream>

int main() {
  neap::install();  // once, before the first tensor
  torch::manual_seed(1);
  torch::nn::Sequential model;
  for (int i = 0; i < 24; ++i) {
    model->push_back(torch::nn::Linear(256, 256));
    model->push_back(torch::nn::GELU());
  }
  torch::optim::AdamW optimizer(model->parameters());
  const auto x = torch::randn({1024, 256}), y = torch::randn({1024, 256});

  neap::Options options;
  options.budget = neap::Bytes::parse("48MiB");  // plain LibTorch needs 77 MiB
  for (int step = 0; step < 3; ++step) {
    neap::Scope scope(options);
    auto loss = torch::mse_loss(model->forward(x), y);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    std::cout << loss.item<float>() << ' ' << neap::Bytes(scope.stats().peak_bytes).text() << '\n';
  }
}
