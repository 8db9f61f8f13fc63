// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A loader feeds a small model inside a budget. The batches come in the same order for any number
// of workers, so all lines except the last two are the same in each run.
#include <neap/data.h>
#include <neap/neap.h>
#include <torch/torch.h>

#include <algorithm>
#include <iostream>

int main() {
  neap::install();
  torch::manual_seed(1);
  const neap::data::Splits splits = neap::data::open("synthetic:1x28x28:10:1000");
  neap::MemoryEfficientDataLoader loader(
      splits.training, /*batch_size=*/128,
      {.prefetch_bytes = neap::Bytes::parse("1MiB"), .shuffle = true, .seed = 7});
  torch::nn::Sequential model(torch::nn::Flatten(), torch::nn::Linear(784, 512), torch::nn::GELU(),
                              torch::nn::Linear(512, 512), torch::nn::GELU(),
                              torch::nn::Linear(512, splits.classes));
  torch::optim::SGD optimizer(model->parameters(), 0.1);

  neap::Options options;
  options.budget = neap::Bytes::parse("8MiB");
  std::int64_t peak = 0;
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::cout << "epoch " << epoch << ", " << loader.batches()
              << " batches, first samples of each:";
    for (const neap::data::Batch& batch : loader) {
      neap::Scope scope(options);
      optimizer.zero_grad();
      auto loss = torch::cross_entropy_loss(model->forward(batch.tensors[0]), batch.tensors[1]);
      loss.backward();
      optimizer.step();
      scope.end();
      peak = std::max(peak, scope.stats().peak_bytes);
      std::cout << ' ' << batch.samples[0];
    }
    std::cout << '\n';
  }
  std::cout << (peak <= options.budget->count() ? "inside" : "above") << " the budget of "
            << options.budget->text() << '\n';

  // Another loader continues where this one is, after the first batch of an epoch.
  const auto batch = loader.next();
  neap::MemoryEfficientDataLoader resumed(splits.training, 128, {.workers = 0, .shuffle = true});
  resumed.restore(loader.state());
  std::cout << "resumed at sample " << loader.state().position << " of epoch "
            << loader.state().epoch << ": "
            << (resumed.next()->samples == loader.next()->samples ? "the same batch"
                                                                  : "another batch")
            << '\n';
  std::cout << "peak " << neap::Bytes(peak).text() << '\n';
  std::cout << "waited " << static_cast<double>(loader.counters().waited_ns) / 1e6 << " ms for "
            << loader.counters().batches << " batches\n";
}
