// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/engine.h: what a program may say to the engine that evicts and replays storages.
//
//   float* raw = neap::pin(weights).data_ptr<float>();  // stays where it is while we hold `raw`
//   ...
//   neap::unpin(weights);
//
// Threads: pin() and unpin() from the thread of the scope.
#pragma once

#include <neap/base.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace neap {

// What becomes of a result that stays alive when the region that made it closes: of checkpoint(), custom_checkpoint() and
// their kin.
enum class CheckpointPolicy : std::uint8_t {
  MustSave,         // stays, and no budget evicts it
  PreferSave,       // stays until the budget of a Scope needs its bytes
  PreferRecompute,  // goes, unless the region's memory limit has room for it
  MustRecompute,    // goes
};

// Counts of one Scope. All are counted from the moment it was opened. Of operators that take less than 20 us and come after one that
// does, one in 16 is timed, drawn, and counted as 16, with what neap does at it; all others, replays, and evictions that an
// allocation asks for, are timed each time.
struct Stats {
  std::int64_t peak_bytes = 0;      // largest `reserved` while it was open
  std::int64_t budget_bytes = 0;    // 0 without a budget
  std::int64_t operators = 0;       // operators of the program, replays not counted
  std::int64_t replays = 0;         // operators run again
  std::int64_t evictions = 0;       // storages whose bytes were given back
  std::int64_t evicted_bytes = 0;   // their bytes
  std::int64_t pinned_bytes = 0;    // storages followed now, or when it ended, that can never go
  std::int64_t recorder_bytes = 0;  // largest memory that recipes and records took
  std::int64_t replay_ns = 0;       // time inside replayed operators
  std::int64_t operator_ns = 0;     // time inside the program's operators
  std::int64_t bookkeeping_ns = 0;  // time in neap: choosing, evicting, preparing replays
  // Of plans, see Options::policy.
  std::int64_t plan_hits = 0;          // 1 when all operators ran by a plan
  std::int64_t plan_misses = 0;        // 1 when the step did something else than its plan
  std::int64_t planned_operators = 0;  // operators that ran by a plan
  std::int64_t unplanned_bytes = 0;    // evicted because more was needed than a plan had foreseen
  std::int64_t predicted_peak_bytes =
      0;                          // of the plan that is followed; to be compared with peak_bytes
  std::int64_t predicted_ns = 0;  // of it; to be compared with operator_ns + replay_ns
  std::int64_t planning_ns = 0;   // what making it took, in another thread
  std::string plan_note =
      {};  // for people: why there is none for a step that was traced, which files were ignored
  // For people: which rules of CheckpointOptions matched nothing in a region, and the nearest names in it. One a line.
  std::string rule_note = {};
};

// Two scopes, or a scope and a region, that cannot be open together.
class NEAP_EXPORT ScopeConflict : public Error {
 public:
  explicit ScopeConflict(const std::string& text);
  ~ScopeConflict() override;
};

// neap::interrupt() was called.
class NEAP_EXPORT Interrupted : public Error {
 public:
  Interrupted();
  ~Interrupted() override;
};

// A replay did not do what the recording did. The message names the operator.
class NEAP_EXPORT ReplayError : public Error {
 public:
  explicit ReplayError(const std::string& text);
  ~ReplayError() override;
};

// Brings the storage of `tensor` back when it is evicted, and keeps it in memory until unpin() or its death.
// For raw pointers that the program holds across operators. Counts: two pins need two unpins.
// Returns `tensor`. Throws: BudgetExceeded when it does not fit.
NEAP_EXPORT const at::Tensor& pin(const at::Tensor& tensor);
NEAP_EXPORT void unpin(const at::Tensor& tensor);

// Says what becomes of the storage of `tensor` when its region closes; beats what the options of regions say. Of no effect on
// what no open region or Scope has made. MustSave also keeps it from the budget of a Scope. Returns `tensor`.
NEAP_EXPORT const at::Tensor& tag(const at::Tensor& tensor, CheckpointPolicy policy);

namespace detail {
NEAP_EXPORT void name_parameter(const at::Tensor& parameter, std::string_view name);
}  // namespace detail

// Registers the names of the module's parameters, `prefix` before each. An operator then belongs to the layer whose parameter
// it reads (`encoder.0.linear1` for `encoder.0.linear1.weight`), else to the layer that made its first operand. Rules of
// CheckpointOptions and reports go by these names. A parameter that is named again takes the new name.
// Module: a torch::nn::Module or a holder of one. Cost: one look-up a parameter and scope. Threads: one at a time.
// Throws: ScopeConflict when another thread has a scope.
template <class Module>
void name(const Module& module, std::string_view prefix = {}) {
  if constexpr (requires { module->named_parameters(); }) {
    name(*module, prefix);
  } else {
    for (const auto& entry : module.named_parameters()) {
      detail::name_parameter(entry.value(), std::string(prefix) + entry.key());
    }
  }
}

// Makes the next operator inside a Scope throw Interrupted instead of running: for a handler of Ctrl-C, and for
// stopping a step from another thread. Safe in a signal handler. A request stays until an operator meets it.
NEAP_EXPORT void interrupt() noexcept;

}  // namespace neap
