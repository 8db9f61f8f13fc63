// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 5: a trainer that accumulates gradients over a loader.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

int main() {
  neap::install();
  const auto make_model = [] {
    torch::manual_seed(1);
    return torch::nn::Sequential(torch::nn::Linear(20, 64), torch::nn::ReLU(),
                                 torch::nn::Linear(64, 10));
  };
  std::vector<std::pair<torch::Tensor, torch::Tensor>> data_loader;
  for (int i = 0; i < 8; ++i) {
    data_loader.emplace_back(torch::randn({32, 20}), torch::randint(10, {32}));
  }

  auto model = make_model();
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  neap::MemoryEfficientTrainer trainer(model, optimizer, /*batch_size=*/32);
  trainer.train_step(data_loader);

  auto plain = make_model();
  torch::optim::SGD plain_optimizer(plain->parameters(), 0.1);
  constexpr int kAccumulationSteps = 4;
  plain_optimizer.zero_grad();
  for (std::size_t i = 0; i < data_loader.size(); ++i) {
    const auto& [inputs, targets] = data_loader[i];
    auto loss = torch::nn::functional::cross_entropy(plain->forward(inputs), targets);
    loss = loss / kAccumulationSteps;
    loss.backward();
    if ((i + 1) % kAccumulationSteps == 0) {
      plain_optimizer.step();
      plain_optimizer.zero_grad();
    }
  }
  return exit_status(same_bytes(plain->parameters(), model->parameters()));
}
