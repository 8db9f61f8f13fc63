// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 7: memory by phase.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

int main() {
  neap::install();
  torch::nn::Linear model(256, 256);
  const auto x = torch::randn({64, 256});
  neap::MemoryTracker tracker;
  std::int64_t before = 0, after = 0;
  for (int step = 0; step < 3; ++step) {
    auto [allocated, cached] = tracker.track_memory("before");
    const auto loss = model(x).square().mean();
    auto [more, still_cached] = tracker.track_memory("after forward");
    loss.backward();
    tracker.track_memory("after backward");
    before = allocated;
    after = more;
    std::cout << allocated << ' ' << cached << ", then " << more << ' ' << still_cached << '\n';
  }
  tracker.log_statistics();
  return after > before && tracker.statistics().size() == 3 ? 0 : 1;
}
