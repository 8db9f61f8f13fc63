// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/allocator.h"
#include "train/checks.h"

#include <neap/train.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

namespace neap {
namespace train {

at::Tensor cross_entropy(const at::Tensor& output, const at::Tensor& target) {
  return at::cross_entropy_loss(output, target);
}

MicroBatch detail::both_of(const std::vector<at::Tensor>& tensors) {
  if (tensors.size() == 2) return {tensors[0], tensors[1]};
  throw InvalidArgument("the loader gave a batch of " + std::to_string(tensors.size()) +
                        " tensors; a micro-batch has two, x and y");
}

Model::Model(torch::nn::Module& module, std::function<at::Tensor(const at::Tensor& x)> forward)
    : module_(&module), forward_(std::move(forward)) {
  if (!forward_) {
    throw InvalidArgument("a model of type " + module.name() +
                          " without a function to call; name one that takes x and returns the "
                          "output");
  }
}

void Model::refuse_empty() {
  throw InvalidArgument("the model is an empty module holder or pointer; make the module first");
}

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void add(Stats& sum, const Stats& step) {
  sum.peak_bytes = std::max(sum.peak_bytes, step.peak_bytes);
  sum.budget_bytes = step.budget_bytes;
  sum.operators += step.operators;
  sum.replays += step.replays;
  sum.evictions += step.evictions;
  sum.evicted_bytes += step.evicted_bytes;
  sum.pinned_bytes = std::max(sum.pinned_bytes, step.pinned_bytes);
  sum.recorder_bytes = std::max(sum.recorder_bytes, step.recorder_bytes);
  sum.replay_ns += step.replay_ns;
  sum.operator_ns += step.operator_ns;
  sum.offloads += step.offloads;
  sum.offloaded_bytes += step.offloaded_bytes;
  sum.loads += step.loads;
  sum.loaded_bytes += step.loaded_bytes;
  sum.offload_wait_ns += step.offload_wait_ns;
  sum.offload_peak_bytes = std::max(sum.offload_peak_bytes, step.offload_peak_bytes);
  sum.plan_hits += step.plan_hits;
  sum.plan_misses += step.plan_misses;
  sum.planned_operators += step.planned_operators;
  sum.unplanned_bytes += step.unplanned_bytes;
  sum.predicted_peak_bytes = std::max(sum.predicted_peak_bytes, step.predicted_peak_bytes);
  sum.predicted_ns += step.predicted_ns;
  sum.planning_ns = std::max(sum.planning_ns, step.planning_ns);
  if (!step.plan_note.empty()) sum.plan_note = step.plan_note;
  if (!step.rule_note.empty()) sum.rule_note = step.rule_note;
  sum.bookkeeping_ns += step.bookkeeping_ns;
}

// `loss` holds the sum over the rows; the caller divides it at the end.
void add(PassResult& sum, const StepResult& step) {
  sum.loss += step.loss * static_cast<double>(step.samples);
  sum.samples += step.samples;
  sum.micro_batches += step.micro_batches;
  ++sum.steps;
  sum.peak = std::max(sum.peak, step.peak);
  add(sum.stats, step.stats);
}

void check_positive(const char* name, std::int64_t value, const char* meaning) {
  if (value >= 1) return;
  throw InvalidArgument(std::string("MemoryEfficientTrainer: ") + name + " is " +
                        std::to_string(value) + "; it is " + meaning + ": 1 or more");
}

void check_parameters(const torch::nn::Module& module, torch::optim::Optimizer& optimizer) {
  const std::vector<at::Tensor> parameters = module.parameters();
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& held : group.params()) {
      if (std::ranges::any_of(parameters,
                              [&](const at::Tensor& one) { return one.is_same(held); })) {
        return;
      }
    }
  }
  throw InvalidArgument("MemoryEfficientTrainer: the optimizer holds none of the " +
                        std::to_string(parameters.size()) + " parameters of the model of type " +
                        module.name() + "; make it from model->parameters()");
}

}  // namespace
}  // namespace train

MemoryEfficientTrainer::MemoryEfficientTrainer(train::Model model,
                                               torch::optim::Optimizer& optimizer,
                                               std::int64_t batch_size,
                                               std::int64_t accumulation_steps,
                                               train::TrainerOptions options, train::Criterion loss)
    : model_(std::move(model)),
      criterion_(std::move(loss)),
      batch_size_(batch_size),
      accumulation_steps_(accumulation_steps),
      options_(std::move(options)),
      trainer_(
          [this](const at::Tensor& x, const at::Tensor& y) { return criterion_(output_of(x), y); },
          optimizer, options_) {
  train::check_positive("batch_size", batch_size, "the most rows of a micro-batch");
  train::check_positive("accumulation_steps", accumulation_steps,
                        "the most micro-batches of an optimizer step");
  if (std::int64_t rows = 0; __builtin_mul_overflow(batch_size, accumulation_steps, &rows)) {
    throw InvalidArgument("MemoryEfficientTrainer: " + std::to_string(accumulation_steps) +
                          " micro-batches of " + std::to_string(batch_size) +
                          " rows are more than can be counted; take fewer of both");
  }
  if (!criterion_) {
    throw InvalidArgument(
        "MemoryEfficientTrainer: the loss is an empty function; leave it out for "
        "the cross entropy");
  }
  train::check_parameters(model_.module(), optimizer);
}

at::Tensor MemoryEfficientTrainer::output_of(const at::Tensor& x) const {
  if (x.size(0) > batch_size_) {
    throw InvalidArgument("MemoryEfficientTrainer: the loader gave a micro-batch of " +
                          std::to_string(x.size(0)) + " rows, and batch_size is " +
                          std::to_string(batch_size_) +
                          "; give the loader that batch size, or the trainer a larger one");
  }
  return model_.forward(x);
}

std::optional<train::StepResult> MemoryEfficientTrainer::step(train::Pass& pass) {
  return trainer_.step(pass, accumulation_steps_, batch_size_ * accumulation_steps_);
}

std::vector<train::PassResult> MemoryEfficientTrainer::fit_passes(
    const std::function<train::Pass()>& begin, std::int64_t epochs,
    const std::function<void(const train::Progress&)>& on_step) {
  train::check_positive("epochs", epochs, "the passes over the loader");
  const auto start = std::chrono::steady_clock::now();
  std::vector<train::PassResult> results;
  train::Progress progress;
  progress.epochs = epochs;
  std::int64_t samples = 0;
  for (progress.epoch = 1; progress.epoch <= epochs; ++progress.epoch) {
    const auto epoch_start = std::chrono::steady_clock::now();
    train::Pass pass = begin();
    if (!progress.steps && pass.size()) {
      progress.steps = epochs * ((*pass.size() + accumulation_steps_ - 1) / accumulation_steps_);
    }
    train::PassResult result;
    while (const auto done = step(pass)) {
      train::add(result, *done);
      samples += done->samples;
      if (!on_step) continue;
      ++progress.done;
      progress.last = *done;
      const double seconds = train::seconds_since(start);
      progress.samples_per_second = static_cast<double>(samples) / seconds;
      if (progress.steps) {
        progress.seconds_left = seconds / static_cast<double>(progress.done) *
                                static_cast<double>(*progress.steps - progress.done);
      }
      if (options_.budget) {
        progress.budget_share =
            static_cast<double>(done->peak.count()) / static_cast<double>(options_.budget->count());
      }
      on_step(progress);
    }
    if (result.steps == 0) {
      throw InvalidArgument("MemoryEfficientTrainer: the loader has no micro-batch in epoch " +
                            std::to_string(progress.epoch) +
                            "; give it data, and let each begin() start anew");
    }
    if (!progress.steps) progress.steps = epochs * result.steps;
    result.loss /= static_cast<double>(result.samples);
    result.milliseconds = train::seconds_since(epoch_start) * 1000;
    results.push_back(result);
  }
  return results;
}

train::PassResult MemoryEfficientTrainer::evaluate_pass(train::Pass pass,
                                                        const train::Criterion& measure) {
  memory::require_installed();
  const auto start = std::chrono::steady_clock::now();
  const train::EvaluationMode evaluation(model_.module());
  const at::NoGradGuard no_grad;
  train::PassResult result;
  at::Tensor sum;
  const auto measure_next = [&] {  // returns false at the end of the pass
    const std::optional<train::MicroBatch> batch = pass.next();
    if (!batch) return false;
    const std::string where = "micro-batch " + std::to_string(++result.micro_batches);
    const std::int64_t rows = train::rows_of(batch->x, where);
    const at::Tensor value = measure(output_of(batch->x), batch->y);
    train::check_scalar(value, "the measure of " + where);
    if (!sum.defined()) sum = at::zeros({}, value.options().dtype(at::kDouble));
    sum.add_(value.reshape({}), static_cast<double>(rows));
    result.samples += rows;
    return true;
  };
  bool more = true;
  while (more) {
    if (options_.plain) {
      memory::reset_peak();
      more = measure_next();
      result.peak = std::max(result.peak, Bytes(memory::usage().peak));
      continue;
    }
    // One scope for each micro-batch, because the records of a scope grow with its operators.
    Scope scope({.budget = options_.budget,
                 .policy = options_.policy,
                 .offload = options_.offload,
                 .verify = options_.verify});
    more = measure_next();
    scope.end();
    train::add(result.stats, scope.stats());
    result.peak = Bytes(result.stats.peak_bytes);
  }
  if (result.samples == 0) {
    throw InvalidArgument(
        "MemoryEfficientTrainer: the loader has no micro-batch to evaluate; give it data");
  }
  result.loss = sum.item<double>() / static_cast<double>(result.samples);
  result.milliseconds = train::seconds_since(start) * 1000;
  return result;
}

}  // namespace neap
