// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 9: a benchmark over batch sizes, with and without checkpoints.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

int main() {
  neap::install();
  neap::GradientCheckpointBenchmark benchmark(
      [](bool use_checkpoint) { return neap::CheckpointedModel(use_checkpoint); }, {512},
      {32, 64, 128});
  const auto with = benchmark.run_benchmark(true), without = benchmark.run_benchmark(false);
  std::cout << with.text() << without.text();
  bool right = with.rows.size() == 3 && without.rows.size() == 3;
  for (std::size_t i = 0; right && i < 3; ++i) {
    right = with.rows[i].equal_bits && with.rows[i].step.replays > 0 &&
            without.rows[i].step.replays == 0 &&
            with.rows[i].step.peak_live <= without.rows[i].step.peak_live;
  }
  return exit_status(right);
}
