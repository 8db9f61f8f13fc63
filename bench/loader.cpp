// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Measures how long training waits for the loader's batches, by the number of workers.
#include "workload.h"

#include <neap/data.h>
#include <neap/nn.h>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <optional>
#include <vector>

namespace neap::bench {
namespace {

constexpr std::int64_t kBatch = 16, kBatches = 30;

struct Waiting {
  double first_ms = 0;
  std::vector<double> rest_ms;
  std::vector<double> step_ms;
};

Waiting train_with(std::int64_t workers) {
  torch::manual_seed(1);
  nn::ResNet model(nn::ResNetOptions{.channels = 16,
                                     .blocks = 4,
                                     .classes = 1000,
                                     .dropout = 0,
                                     .stem_kernel = 7,
                                     .stem_stride = 4});
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
  MemoryEfficientDataLoader loader(data::synthetic({3, 224, 224}, 1000, kBatch * kBatches), kBatch,
                                   {.workers = workers, .shuffle = true});
  Waiting waiting;
  std::int64_t waited_ns = 0;
  while (const std::optional<data::Batch> batch = loader.next()) {
    const std::int64_t now_ns = loader.counters().waited_ns;
    const double waited_ms = static_cast<double>(now_ns - waited_ns) / 1e6;
    waited_ns = now_ns;
    if (waiting.step_ms.empty()) {
      waiting.first_ms = waited_ms;
    } else {
      waiting.rest_ms.push_back(waited_ms);
    }
    const double start = now_ms();
    optimizer.zero_grad();
    torch::cross_entropy_loss(model->forward(batch->tensors[0]), batch->tensors[1]).backward();
    optimizer.step();
    waiting.step_ms.push_back(now_ms() - start);
  }
  return waiting;
}

}  // namespace

void measure_loader() {
  std::printf(
      "\n## Loader\n\nA small ResNet on %lld batches of %lld samples of noise, 3 x 224 x 224, each "
      "made when it is loaded; "
      "LibTorch with one thread. Waiting: of the training thread, for a batch.\n\n"
      "| workers | a step, ms | waited for the first batch, ms | for each of the others, ms, "
      "median | largest | all of them |\n"
      "|---|---|---|---|---|---|\n",
      static_cast<long long>(kBatches), static_cast<long long>(kBatch));
  for (const std::int64_t workers : {0, 1, 2, 4}) {
    const Waiting waiting = train_with(workers);
    std::printf("| %lld | %s | %.1f | %.2f | %.2f | %.1f |\n", static_cast<long long>(workers),
                median_and_spread(waiting.step_ms, "%.0f").c_str(), waiting.first_ms,
                median(waiting.rest_ms), std::ranges::max(waiting.rest_ms),
                std::accumulate(waiting.rest_ms.begin(), waiting.rest_ms.end(), 0.0));
    std::fflush(stdout);
  }
}

}  // namespace neap::bench
