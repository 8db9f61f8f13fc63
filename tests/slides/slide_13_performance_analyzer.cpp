// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 13: time and memory of a model by batch size.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

int main() {
  neap::install();
  neap::PerformanceAnalyzer analyzer(neap::CheckpointedResNet(4), {3, 32, 32}, {2, 4, 8});
  const auto metrics = analyzer.analyze();
  std::cout << metrics.text();
  bool right = metrics.rows.size() == 3;
  for (const auto& row : metrics.rows) {
    right = right && row.step.peak_live.count() > 0 && row.forward_time.median > 0 &&
            row.backward_time.median > 0 && row.total_time.median > 0 &&
            row.total_time.upper <= row.step.milliseconds.upper;
  }
  return right ? 0 : 1;
}
