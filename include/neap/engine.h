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

namespace neap {

// Counts of one Scope. All are counted from the moment it was opened.
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
  std::int64_t bookkeeping_ns = 0;  // time in neap: choosing, evicting, preparing replays
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

// Makes the next operator inside a Scope throw Interrupted instead of running: for a handler of Ctrl-C, and for
// stopping a step from another thread. Safe in a signal handler. A request stays until an operator meets it.
NEAP_EXPORT void interrupt() noexcept;

}  // namespace neap
