// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/step.h: one training step with clocks and peaks between its parts, which train::Trainer has no place for.
#pragma once

#include "intercept/failed_backward.h"

#include <neap/analysis.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace neap::analysis {

struct StepMode {
  bool scope = true;                 // false: plain LibTorch
  std::optional<Bytes> budget = {};  // of the scope
  Policy policy = Planned{};         // of it; no plan is being made when the step has ended
};

struct Step {
  double loss = 0;
  double forward_ms = 0, backward_ms = 0, optimizer_ms = 0;  // the loss belongs to the forward
  double total_ms = 0;                                       // forward and backward
  double milliseconds = 0;                                   // all, with the ends of a scope
  std::int64_t base = 0, base_reserved = 0;  // before it, without gradients and after a trim
  std::int64_t peak_live = 0, peak_reserved = 0;
  Stats stats;  // zeros for a plain step
};

// Throws: what the parts throw; InvalidArgument when the loss is no scalar.
Step run_step(const Job& job, const train::MicroBatch& batch, const StepMode& mode);

// The first line of what did not fit, after `action` threw one of the errors that say so; empty: it came to its end. The
// gradients of `optimizer` and what LibTorch kept of the backward are dropped then.
template <class Action>
std::string refusal_of(torch::optim::Optimizer* optimizer, const Action& action);

// Keeps what no scope with a budget watches from taking the machine, which ends programs that do: LibTorch may hold this much.
// Throws: BudgetExceeded when more is held.
class Fence {
 public:
  explicit Fence(Bytes bytes);
  Fence(const Fence&) = delete;
  Fence& operator=(const Fence&) = delete;
  ~Fence();
};
// What is held, and four fifths of what the machine or the container leaves: the process grows beside LibTorch too.
Bytes room_of_machine();

// Watches two plain steps, of which the first may make the optimizer's state: see neap::plan_ahead().
// Throws: what the parts throw.
void plan_ahead(const Job& job, const train::MicroBatch& batch);

// Gathers the measured steps of one row.
class Steps {
 public:
  void add(const Step& step) { steps_.push_back(step); }
  [[nodiscard]] Measurement measurement(std::int64_t batch_size) const;
  // Of one figure of all steps.
  [[nodiscard]] Quartiles quartiles(double Step::*figure) const;

 private:
  std::vector<Step> steps_;
};

// Puts the state of LibTorch's default generator back. It is kept outside of LibTorch's memory: 5 KiB of it would be taken for what
// stays between steps, and a percentage would be of something else than in other commands.
class GeneratorGuard {
 public:
  GeneratorGuard();
  GeneratorGuard(const GeneratorGuard&) = delete;
  GeneratorGuard& operator=(const GeneratorGuard&) = delete;
  ~GeneratorGuard();

 private:
  std::vector<unsigned char> state_;
};

// Throws: InvalidArgument; `what` begins the message.
void check_training(const char* what, const TrainingOptions& options);
void check_shape(const char* what, const std::vector<std::int64_t>& shape);
void check_batch_sizes(const char* what, const std::vector<std::int64_t>& batch_sizes);

// {batch_size, shape...}
std::vector<std::int64_t> with_batch(std::int64_t batch_size,
                                     const std::vector<std::int64_t>& shape);

void drop_gradients(torch::optim::Optimizer* optimizer);
// As people say it: "SGD with momentum", "AdamW"; of a class of the program, its name.
std::string optimizer_text(const torch::optim::Optimizer& optimizer);
std::string optimizer_text(OptimizerKind kind);
std::string first_line(const char* text);

template <class Action>
std::string refusal_of(torch::optim::Optimizer* optimizer, const Action& action) {
  std::string refusal;
  try {
    action();
  } catch (const BudgetExceeded& error) {
    refusal = first_line(error.what());
  } catch (const OutOfMemory& error) {
    refusal = first_line(error.what());
  }
  if (refusal.empty()) return refusal;
  intercept::drop_failed_backward();  // a plain step has no scope that does
  drop_gradients(optimizer);
  return refusal;
}

}  // namespace neap::analysis
