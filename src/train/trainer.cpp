// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/train.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

namespace neap::train {

Trainer::Trainer(Loss loss, torch::optim::Optimizer& optimizer, TrainerOptions options)
    : loss_(std::move(loss)), optimizer_(optimizer), options_(options) {
  if (options_.accumulate < 1) {
    throw InvalidArgument("accumulate is " + std::to_string(options_.accumulate) +
                          "; 1 takes the whole batch at once, more cut it into that many parts");
  }
}

StepResult Trainer::step(const at::Tensor& x, const at::Tensor& y) {
  if (x.dim() == 0 || x.size(0) < options_.accumulate) {
    throw InvalidArgument("a batch of " + std::to_string(x.dim() == 0 ? 0 : x.size(0)) +
                          " cannot be cut into " + std::to_string(options_.accumulate) +
                          " parts; accumulate less, or take larger batches");
  }
  const auto start = std::chrono::steady_clock::now();
  StepResult result;
  if (options_.plain) {
    memory::reset_peak();
    result.loss = run(x, y);
    result.peak = Bytes(memory::usage().peak);
  } else {
    Scope scope({.budget = options_.budget});
    result.loss = run(x, y);
    scope.end();
    result.stats = scope.stats();
    result.peak = Bytes(result.stats.peak_bytes);
  }
  result.milliseconds =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return result;
}

double Trainer::run(const at::Tensor& x, const at::Tensor& y) {
  optimizer_.zero_grad();
  double total = 0;
  const auto rows = static_cast<double>(x.size(0));
  const std::vector<at::Tensor> xs = x.tensor_split(options_.accumulate);
  const std::vector<at::Tensor> ys = y.tensor_split(options_.accumulate);
  for (std::size_t part = 0; part < xs.size(); ++part) {
    at::Tensor loss = loss_(xs[part], ys[part]);
    const double weight = static_cast<double>(xs[part].size(0)) / rows;
    if (xs.size() > 1) loss = loss * weight;
    loss.backward();
    total += loss.item<double>();
  }
  optimizer_.step();
  return total;
}

PlainStep measure_plain(const Loss& loss, torch::optim::Optimizer& optimizer, const at::Tensor& x,
                        const at::Tensor& y, std::int64_t accumulate) {
  Trainer trainer(loss, optimizer, {.accumulate = accumulate, .plain = true});
  PlainStep plain{};
  std::vector<double> times;
  constexpr int kSteps = 4;
  for (int step = 0; step < kSteps; ++step) {
    optimizer.zero_grad();
    memory::trim();
    const memory::Usage before = memory::usage();
    const StepResult result = trainer.step(x, y);
    plain.base = Bytes(before.reserved);
    plain.peak = plain.base + result.peak - Bytes(before.live);
    if (step > 0) times.push_back(result.milliseconds);
  }
  optimizer.zero_grad();
  std::ranges::sort(times);
  plain.milliseconds = times[times.size() / 2];
  return plain;
}

}  // namespace neap::train
