// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Compares plain, checkpointed and budgeted training side by side: peaks, times in turn, and
// whether the bits are equal.
#include <neap/analysis.h>
#include <neap/models.h>
#include <neap/neap.h>
#include <torch/torch.h>

#include <algorithm>
#include <fstream>
#include <iostream>

int main() {
  neap::install();
  const auto factory = [](bool use_checkpoint) {
    return neap::CheckpointedModel(
        neap::CheckpointedModelOptions{.width = 256, .use_checkpoint = use_checkpoint});
  };
  neap::GradientCheckpointBenchmark benchmark(factory, {256}, {256, 512},
                                              {.training = {.repetitions = 3}, .budgets = {"70%"}});
  const neap::analysis::BenchmarkResult result = benchmark.run_benchmark();
  std::cout << result.text();
  std::ofstream("benchmark_peaks.svg") << result.svg(neap::analysis::Quantity::Peak);

  const auto& plain = result.rows[3].step;  // for the larger batch
  const auto& checkpointed = result.rows[4].step;
  std::cout << "less memory when checkpointed: "
            << (checkpointed.peak_live < plain.peak_live ? "yes" : "no") << '\n';
  const bool equal = std::ranges::all_of(
      result.rows, [](const auto& row) { return row.equal_bits || !row.step.fits(); });
  std::cout << "equal bits in all rows that fit: " << (equal ? "yes" : "no") << '\n';
}
