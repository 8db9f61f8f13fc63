// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What LibTorch holds on the CPU in each phase of training, by category, with exact peaks. Phases
// can be nested.
#include <neap/analysis.h>
#include <neap/neap.h>
#include <torch/torch.h>

#include <algorithm>
#include <iostream>

int main() {
  neap::install();
  torch::manual_seed(1);
  torch::nn::Sequential model(torch::nn::Linear(256, 512), torch::nn::ReLU(),
                              torch::nn::Linear(512, 512), torch::nn::ReLU(),
                              torch::nn::Linear(512, 10));
  torch::optim::Adam optimizer(model->parameters());
  const auto x = torch::randn({512, 256}), y = torch::randint(10, {512});

  neap::MemoryTracker tracker;
  tracker.set_categories(neap::analysis::categories_of(*model, optimizer));
  for (int step = 0; step < 5; ++step) {
    const auto whole = tracker.track_memory("step");
    optimizer.zero_grad();
    torch::Tensor loss;
    {
      const auto [allocated, cached] = tracker.track_memory("forward");  // bytes at its beginning
      if (step == 0) std::cout << allocated << " bytes live, " << cached << " cached\n";
      loss = torch::cross_entropy_loss(model->forward(x), y);
    }
    {
      const auto phase = tracker.track_memory("backward");
      loss.backward();
    }
    const auto phase = tracker.track_memory("optimizer");
    optimizer.step();
  }
  tracker.log_statistics();

  std::int64_t largest = 0, step_peak = 0;
  for (const auto& record : tracker.records()) {
    auto& peak = record.phase == "step" ? step_peak : largest;
    peak = std::max(peak, record.peak_live);
  }
  std::cout << "the peak of a step is the largest of its phases: "
            << (step_peak == largest ? "yes" : "no") << '\n';
  std::cout << "lines of CSV: " << std::ranges::count(tracker.csv(), '\n') << '\n';
}
