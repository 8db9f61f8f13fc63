// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/step.h: one training step with clocks and peaks for its parts, which train::Trainer does
// not measure.
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
  PlanMode policy = Planned{};       // of the scope; no plan is being made when the step ends
};

struct Step {
  double loss = 0;
  double forward_ms = 0, backward_ms = 0, optimizer_ms = 0;  // the forward includes the loss
  double total_ms = 0;                                       // forward and backward
  double milliseconds = 0;                                   // all, with the ends of a scope
  std::int64_t base = 0, base_reserved = 0;  // before it, without gradients and after a trim
  std::int64_t peak_live = 0, peak_reserved = 0;
  Stats stats;                // zeros for a plain step
  bool update_began = false;  // the optimizer has begun its step
};

// Throws: what the parts throw; InvalidArgument when the loss is not a scalar. `step` is then
// filled as far as it came.
void run_step(const Job& job, const train::MicroBatch& batch, const StepMode& mode, Step& step);
Step run_step(const Job& job, const train::MicroBatch& batch, const StepMode& mode);

// Runs `action`. Returns the first line of a BudgetExceeded or OutOfMemory that it throws, or an
// empty text. After such an error it drops the gradients of `optimizer` (if not null), and what
// LibTorch kept of the backward.
template <class Action>
std::string refusal_of(torch::optim::Optimizer* optimizer, const Action& action);

// Limits how much LibTorch may hold while no scope with a budget does. Otherwise a step could take
// all of the machine's memory, and the system would end the program.
// Throws: BudgetExceeded when more is held already.
class Fence {
 public:
  explicit Fence(Bytes bytes);
  Fence(const Fence&) = delete;
  Fence& operator=(const Fence&) = delete;
  ~Fence();
};
// What is held, plus four fifths of what the machine or the container has left: the process also
// grows outside of LibTorch.
Bytes room_of_machine();

// Watches two plain steps, of which the first may make the optimizer's state: see
// neap::plan_ahead().
// Throws: what the parts throw.
void plan_ahead(const Job& job, const train::MicroBatch& batch);

// Gathers the measured steps of one row.
class Steps {
 public:
  void add(const Step& step) { steps_.push_back(step); }
  [[nodiscard]] Measurement measurement(std::int64_t batch_size) const;
  // The quartiles of one member over all steps.
  [[nodiscard]] Quartiles quartiles(double Step::*figure) const;

 private:
  std::vector<Step> steps_;
};

// Restores the state of LibTorch's default generator. The state is kept outside of LibTorch's
// memory. There, its 5 KiB would count as memory that stays between steps, and a percentage would
// mean something else than in other commands.
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
// For people: "SGD with momentum", "AdamW"; for a class of the program, its name.
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
  intercept::drop_failed_backward();  // a plain step has no scope that does this
  drop_gradients(optimizer);
  return refusal;
}

}  // namespace neap::analysis
