// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a training step holds, by layer: measured with a traced step, and estimated from shapes
// without running anything.
#include <neap/analysis.h>
#include <neap/neap.h>
#include <neap/nn.h>

#include <iostream>

int main() {
  neap::install();
  neap::nn::MLP model(neap::nn::MLPOptions{.in = 784, .width = 512, .out = 10, .layers = 4});
  std::cout << neap::analyze_memory_usage(model, {784}, /*batch_size=*/32).text() << '\n'
            << neap::estimate_memory_usage(model, {784}, /*batch_size=*/32).text();
}
