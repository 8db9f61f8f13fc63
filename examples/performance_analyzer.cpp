// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Time and memory of a model inside a budget, by batch size, and the largest batch that trains
// there.
#include <neap/analysis.h>
#include <neap/neap.h>
#include <neap/nn.h>
#include <torch/torch.h>

#include <iostream>

int main() {
  neap::install();
  const auto make_model = [] {
    torch::manual_seed(1);
    return neap::nn::ResNet(neap::nn::ResNetOptions{.channels = 8, .blocks = 4});
  };
  const auto budget = neap::Bytes::parse("8MiB");
  neap::PerformanceAnalyzer analyzer(make_model(), {3, 16, 16}, {16, 32, 64, 4096},
                                     {.training = {.repetitions = 3}, .budget = budget});
  const neap::analysis::PerformanceResult result = analyzer.analyze();
  std::cout << result.text();

  const auto make_job = [&] {
    const neap::nn::ResNet model = make_model();
    return neap::analysis::Job{model, neap::analysis::sgd(*model), neap::train::cross_entropy};
  };
  const auto make_batch = [](std::int64_t size) {
    return neap::train::MicroBatch{torch::randn({size, 3, 16, 16}), torch::randint(10, {size})};
  };
  const auto most = neap::max_batch(make_job, make_batch, budget, {.smallest = 2});
  std::cout << most.text();

  std::cout << "4096 pictures fit: " << (result.rows[3].step.fits() ? "yes" : "no") << '\n';
  std::cout << "the budget trains a larger batch: "
            << (most.neap.batch_size > most.plain.batch_size ? "yes" : "no")
            << ", proved: " << (most.plain.proved && most.neap.proved ? "yes" : "no") << '\n';
}
