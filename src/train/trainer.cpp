// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/allocator.h"
#include "train/checks.h"

#include <neap/train.h>

#include <torch/nn/utils/clip_grad.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

namespace neap::train {
namespace {

// The losses of a group, not read yet. They are copied into one tensor: to keep a loss itself would
// keep the recipe that leads to it, and with that the batch.
class Losses {
 public:
  void add(const at::Tensor& loss, std::int64_t most) {
    if (!values_.defined()) values_ = at::empty({most}, loss.options().dtype(at::kDouble));
    values_.select(0, count_++).copy_(loss.detach().reshape({}));
  }
  // The only place where the step waits for the device.
  [[nodiscard]] std::vector<double> read() const {
    const at::Tensor values = values_.to(at::kCPU);
    const double* const first = values.const_data_ptr<double>();
    return {first, first + count_};
  }

 private:
  at::Tensor values_;
  std::int64_t count_ = 0;
};

std::string place(std::int64_t micro_batch, std::int64_t step) {
  return "micro-batch " + std::to_string(micro_batch) + " of step " + std::to_string(step);
}

template <class Change>
void for_each_gradient(torch::optim::Optimizer& optimizer, const Change& change) {
  for (auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      if (parameter.grad().defined()) change(parameter.mutable_grad());
    }
  }
}

std::vector<at::Tensor> parameters_of(torch::optim::Optimizer& optimizer) {
  std::vector<at::Tensor> all;
  for (auto& group : optimizer.param_groups()) {
    all.insert(all.end(), group.params().begin(), group.params().end());
  }
  return all;
}

void check_limit(const char* name, double max) {
  if (std::isfinite(max) && max > 0) return;
  throw InvalidArgument(std::string(name) + " at " + std::to_string(max) +
                        ": expected a number above 0; leave `clip` out to clip nothing");
}

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

NonFinite::NonFinite(const std::string& text, std::int64_t step, std::int64_t micro_batch,
                     double value)
    : Error(text), step(step), micro_batch(micro_batch), value(value) {}
NonFinite::~NonFinite() = default;

Trainer::Trainer(Loss loss, torch::optim::Optimizer& optimizer, TrainerOptions options)
    : loss_(std::move(loss)),
      optimizer_(optimizer),
      options_(std::move(options)),
      steps_(options_.steps_done) {
  if (steps_ < 0) {
    throw InvalidArgument("a trainer that has done " + std::to_string(steps_) +
                          " steps: expected 0 or more");
  }
  if (options_.plain && options_.budget) {
    throw InvalidArgument("a plain trainer has no scope that could hold the budget of " +
                          options_.budget->text() + "; leave out `plain`, or the budget");
  }
  if (const auto* norm = std::get_if<ClipNorm>(&options_.clip)) check_limit("ClipNorm", norm->max);
  if (const auto* value = std::get_if<ClipValue>(&options_.clip)) {
    check_limit("ClipValue", value->max);
  }
  const auto* const scheduler = std::get_if<torch::optim::LRScheduler*>(&options_.schedule);
  const auto* const rate = std::get_if<std::function<double(std::int64_t)>>(&options_.schedule);
  if ((scheduler != nullptr && *scheduler == nullptr) || (rate != nullptr && !*rate)) {
    throw InvalidArgument("the schedule is empty; leave it out to keep the optimizer's rate");
  }
}

StepResult Trainer::step(const at::Tensor& x, const at::Tensor& y, std::int64_t parts) {
  const std::int64_t rows = x.dim() == 0 ? 0 : x.size(0);
  if (parts < 1 || parts > rows) {
    throw InvalidArgument("a batch of " + std::to_string(rows) + " rows cannot be cut into " +
                          std::to_string(parts) + " parts; take 1 to " + std::to_string(rows) +
                          ", or larger batches");
  }
  const std::vector<at::Tensor> xs = x.tensor_split(parts), ys = y.tensor_split(parts);
  std::vector<MicroBatch> batches;
  for (std::size_t i = 0; i < xs.size(); ++i) batches.push_back({xs[i], ys[i]});
  Pass pass(batches);
  return *step(pass, parts, rows);
}

std::optional<StepResult> Trainer::step(Pass& pass, std::int64_t most, std::int64_t samples) {
  if (most < 1 || samples < 1) {
    throw InvalidArgument("a step of " + std::to_string(most) + " micro-batches and " +
                          std::to_string(samples) + " rows: expected 1 or more of both");
  }
  memory::require_installed();
  const auto start = std::chrono::steady_clock::now();
  std::optional<StepResult> result;
  if (options_.plain) {
    memory::reset_peak();
    result = run(pass, most, samples);
    if (result) result->peak = Bytes(memory::usage().peak);
  } else {
    Scope scope({.budget = options_.budget,
                 .policy = options_.policy,
                 .offload = options_.offload,
                 .verify = options_.verify});
    result = run(pass, most, samples);
    scope.end();
    if (result) {
      result->stats = scope.stats();
      result->peak = Bytes(result->stats.peak_bytes);
    }
  }
  if (result) result->milliseconds = milliseconds_since(start);
  return result;
}

std::optional<StepResult> Trainer::run(Pass& pass, std::int64_t most, std::int64_t samples) {
  StepResult result;
  result.step = steps_ + 1;
  Losses losses;
  std::vector<double> rows;
  while (result.micro_batches < most) {
    const std::optional<MicroBatch> batch = pass.next();
    if (!batch) break;
    if (result.micro_batches++ == 0) optimizer_.zero_grad();
    const std::string where = place(result.micro_batches, result.step);
    const std::int64_t count = rows_of(batch->x, where);
    at::Tensor loss = loss_(batch->x, batch->y);
    check_scalar(loss, "the loss of " + where);
    if (!loss.requires_grad()) {
      throw InvalidArgument("the loss of " + where +
                            " depends on no parameter that requires a gradient; make it from the "
                            "model's output, with grad mode on");
    }
    losses.add(loss, most);
    rows.push_back(static_cast<double>(count));
    result.samples += count;
    const double weight = static_cast<double>(count) / static_cast<double>(samples);
    if (weight != 1) loss = loss * weight;
    loss.backward();
  }
  if (result.micro_batches == 0) return std::nullopt;

  const std::vector<double> values = losses.read();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      optimizer_.zero_grad();
      const auto number = static_cast<std::int64_t>(i) + 1;
      throw NonFinite("the loss of " + place(number, result.step) + " is " +
                          std::to_string(values[i]) +
                          "; parameters and optimizer state are as before the step: lower the "
                          "learning rate, clip, or look at the rows of this micro-batch",
                      result.step, number, values[i]);
    }
    result.loss += rows[i] / static_cast<double>(result.samples) * values[i];
  }
  if (result.samples != samples) {
    const at::NoGradGuard no_grad;
    const double correction = static_cast<double>(samples) / static_cast<double>(result.samples);
    for_each_gradient(optimizer_, [&](at::Tensor& gradient) { gradient.mul_(correction); });
  }
  update(result);
  ++steps_;
  return result;
}

// Called when the gradients are complete. Parameters change from here on.
void Trainer::update(StepResult& result) {
  if (const auto* norm = std::get_if<ClipNorm>(&options_.clip)) {
    const at::NoGradGuard no_grad;
    result.gradient_norm =
        torch::nn::utils::clip_grad_norm_(parameters_of(optimizer_), norm->max, norm->type);
    if (!std::isfinite(*result.gradient_norm)) {
      optimizer_.zero_grad();
      throw NonFinite(
          "the norm of the gradient of step " + std::to_string(result.step) + " is " +
              std::to_string(*result.gradient_norm) +
              " where the losses are numbers; parameters and optimizer state are as "
              "before the step: lower the learning rate, or look at the model's backward",
          result.step, 0, *result.gradient_norm);
    }
  } else if (const auto* value = std::get_if<ClipValue>(&options_.clip)) {
    const at::NoGradGuard no_grad;
    torch::nn::utils::clip_grad_value_(parameters_of(optimizer_), value->max);
  }
  if (const auto* rate = std::get_if<std::function<double(std::int64_t)>>(&options_.schedule)) {
    const double now = (*rate)(steps_);
    if (!std::isfinite(now) || now < 0) {
      throw InvalidArgument("the schedule gives step " + std::to_string(result.step) +
                            " a rate of " + std::to_string(now) + "; expected a number from 0 on");
    }
    for (auto& group : optimizer_.param_groups()) group.options().set_lr(now);
  }
  optimizer_.step();
  if (auto* const* scheduler = std::get_if<torch::optim::LRScheduler*>(&options_.schedule)) {
    (*scheduler)->step();
  }
}

PlainStep measure_plain(const Loss& loss, torch::optim::Optimizer& optimizer, const at::Tensor& x,
                        const at::Tensor& y, std::int64_t accumulate) {
  memory::require_installed();
  Trainer trainer(loss, optimizer, {.plain = true});
  PlainStep plain{};
  const auto step = [&] { return trainer.step(x, y, accumulate); };
  optimizer.zero_grad();
  memory::trim();
  plan_ahead(step);  // makes the optimizer's state
  plan_ahead(step);  // starts with the gradients of the step before, as in a training
  optimizer.zero_grad();
  memory::trim();
  // After a trim, because the step does not need cached memory.
  const memory::Usage before = memory::usage();
  plain.base = Bytes(before.reserved);
  plain.peak = plain.base + step().peak - Bytes(before.live);
  // Time is measured as in a training, with the pages of the steps before. Fresh pages would count
  // as LibTorch's time, and a training pays for them only once.
  std::vector<double> times;
  constexpr int kTimed = 3;
  for (int i = 0; i < kTimed; ++i) times.push_back(step().milliseconds);
  optimizer.zero_grad();
  std::ranges::sort(times);
  plain.milliseconds = times[times.size() / 2];
  return plain;
}

}  // namespace neap::train
