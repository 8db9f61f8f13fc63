// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Slide 11: a loader that loads ahead.
#include "same_bits.h"

#include <neap/all.h>
#include <torch/torch.h>

int main() {
  neap::install();
  const auto x = torch::randn({100, 8}), y = torch::arange(100);
  neap::MemoryEfficientDataLoader loader(neap::data::from_tensors({x, y}), /*batch_size=*/32);
  std::vector<torch::Tensor> xs, ys;
  for (const auto& batch : loader) {
    xs.push_back(batch.tensors[0]);
    ys.push_back(batch.tensors[1]);
  }
  return exit_status(same_bytes({x, y}, {torch::cat(xs), torch::cat(ys)}));
}
