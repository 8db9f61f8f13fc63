// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/step.h"

#include "memory/allocator.h"
#include "train/checks.h"

#include <neap/machine.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace neap::analysis {
namespace {

class Stopwatch {
 public:
  // Milliseconds since construction or the last lap().
  double lap() {
    const auto now = Clock::now();
    return milliseconds(std::exchange(last_, now), now);
  }
  [[nodiscard]] double total() const { return milliseconds(start_, Clock::now()); }

 private:
  using Clock = std::chrono::steady_clock;
  static double milliseconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
  }
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

void run_parts(Step& step, const Job& job, const train::MicroBatch& batch, Stopwatch& watch) {
  job.optimizer->zero_grad();
  const at::Tensor loss = job.loss(job.model.forward(batch.x), batch.y);
  train::check_scalar(loss, "the loss");
  step.forward_ms = watch.lap();
  loss.backward();
  step.loss = loss.item<double>();
  step.backward_ms = watch.lap();
  step.total_ms = step.forward_ms + step.backward_ms;
  step.update_began = true;
  job.optimizer->step();
  step.optimizer_ms = watch.lap();
}

}  // namespace

Step run_step(const Job& job, const train::MicroBatch& batch, const StepMode& mode) {
  Step step;
  run_step(job, batch, mode, step);
  return step;
}

void run_step(const Job& job, const train::MicroBatch& batch, const StepMode& mode, Step& step) {
  drop_gradients(job.optimizer.get());
  const memory::Usage before = memory::usage();
  step.base = before.live;
  step.base_reserved = before.reserved;
  MemoryTracker tracker;
  MemoryTracker::Phase phase = tracker.track_memory("step");
  Stopwatch watch;
  if (mode.scope) {
    Scope scope({.budget = mode.budget, .policy = mode.policy});
    run_parts(step, job, batch, watch);
    scope.end();
    step.stats = scope.stats();
  } else {
    run_parts(step, job, batch, watch);
  }
  step.milliseconds = watch.total();
  phase.end();
  step.peak_live = tracker.records()[0].peak_live;
  step.peak_reserved = tracker.records()[0].peak_reserved;
  finish_planning();
}

Fence::Fence(Bytes bytes) { memory::set_budget(bytes.count()); }
Fence::~Fence() { memory::set_budget(std::nullopt); }

Bytes room_of_machine() {
  memory::trim();
  const std::int64_t left = machine::memory().left();
  if (left == 0) return Bytes(std::numeric_limits<std::int64_t>::max());  // unknown
  return Bytes(memory::usage().reserved + left - left / 5);
}

void plan_ahead(const Job& job, const train::MicroBatch& batch) {
  for (int i = 0; i < 2; ++i) {
    drop_gradients(job.optimizer.get());
    neap::plan_ahead([&] {
      Step step;
      Stopwatch watch;
      run_parts(step, job, batch, watch);
    });
  }
  drop_gradients(job.optimizer.get());
}

Quartiles quartiles_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  // Interpolates between the two values around the position.
  const auto at = [&](double share) {
    const double place = share * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const double above = values[std::min(below + 1, values.size() - 1)];
    return values[below] + (above - values[below]) * (place - static_cast<double>(below));
  };
  return {at(0.25), at(0.5), at(0.75)};
}

Quartiles Steps::quartiles(double Step::*figure) const {
  std::vector<double> values;
  for (const Step& step : steps_) values.push_back(step.*figure);
  return quartiles_of(std::move(values));
}

Measurement Steps::measurement(std::int64_t batch_size) const {
  Measurement result;
  result.milliseconds = quartiles(&Step::milliseconds);
  if (result.milliseconds.median > 0) {
    result.items_per_second = static_cast<double>(batch_size) * 1000 / result.milliseconds.median;
  }
  std::vector<double> shares;
  for (const Step& step : steps_) {
    shares.push_back(static_cast<double>(step.stats.replay_ns) / 1e6 / step.milliseconds);
    result.replays = std::max(result.replays, step.stats.replays);
    result.base = std::max(result.base, Bytes(step.base));
    result.peak_live = std::max(result.peak_live, Bytes(step.peak_live));
    result.peak_reserved = std::max(result.peak_reserved, Bytes(step.peak_reserved));
  }
  result.recompute_share = quartiles_of(std::move(shares)).median;
  return result;
}

GeneratorGuard::GeneratorGuard() {
  const at::Tensor state = at::globalContext().defaultGenerator(at::kCPU).get_state();
  const auto* const bytes = state.const_data_ptr<unsigned char>();
  state_.assign(bytes, bytes + state.numel());
}

GeneratorGuard::~GeneratorGuard() {
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  const at::Tensor state = torch::empty({static_cast<std::int64_t>(state_.size())}, torch::kByte);
  std::memcpy(state.mutable_data_ptr(), state_.data(), state_.size());
  generator.set_state(state);
}

void check_training(const char* what, const TrainingOptions& options) {
  const std::string begin = std::string(what) + ": ";
  if (options.repetitions < 1) {
    throw InvalidArgument(begin + "repetitions is " + std::to_string(options.repetitions) +
                          "; expected 1 or more measured steps");
  }
  if (options.warm_up < 0) {
    throw InvalidArgument(begin + "warm_up is " + std::to_string(options.warm_up) +
                          "; expected 0 or more steps before each measured one");
  }
  if (!options.optimizer || !options.batch || !options.loss) {
    throw InvalidArgument(begin +
                          (!options.optimizer ? "optimizer"
                           : !options.batch   ? "batch"
                                              : "loss") +
                          " is an empty function; leave it out for the default, or give one");
  }
}

void check_shape(const char* what, const std::vector<std::int64_t>& shape) {
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] >= 1) continue;
    throw InvalidArgument(std::string(what) + ": extent " + std::to_string(i) +
                          " of the input is " + std::to_string(shape[i]) +
                          "; give the sizes of one item, without the batch, each 1 or more");
  }
}

void check_batch_sizes(const char* what, const std::vector<std::int64_t>& batch_sizes) {
  if (batch_sizes.empty()) {
    throw InvalidArgument(std::string(what) + ": no batch size; name one at least");
  }
  for (const std::int64_t size : batch_sizes) {
    if (size >= 1) continue;
    throw InvalidArgument(std::string(what) + ": a batch size of " + std::to_string(size) +
                          "; expected 1 or more");
  }
}

std::vector<std::int64_t> with_batch(std::int64_t batch_size,
                                     const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> sizes{batch_size};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  return sizes;
}

void drop_gradients(torch::optim::Optimizer* optimizer) {
  if (optimizer != nullptr) optimizer->zero_grad();
  memory::trim();
}

std::string first_line(const char* text) {
  const std::string whole = text;
  return whole.substr(0, whole.find('\n'));
}

}  // namespace neap::analysis
