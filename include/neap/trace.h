// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/trace.h: run a step as plain LibTorch would, and write down what it did.
//
//   const neap::graph::Trace trace = neap::trace_step([&] { train_one_step(model, x, y); });
//   neap::graph::write(trace, "step.jsonl");   // for `neap plan`
//
//   neap::plan_ahead([&] { train_one_step(copy_of_the_model, x, y); });
//   // A scope that is opened from here on follows a plan from its first step on.
//
// Units: bytes, ns. Threads: the thread of the step; no other thread may have a scope.
#pragma once

#include <neap/base.h>
#include <neap/graph.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace neap {

// What the caller knows of a tensor that a trace will meet.
struct KnownTensor {
  at::Tensor tensor;
  graph::StorageKind kind = graph::StorageKind::Constant;
};

struct TraceOptions {
  // Without these, what requires grad or is written by the optimizer counts as a parameter, what
  // the optimizer alone uses counts as its state, and the rest counts as constant.
  std::vector<KnownTensor> known = {};
  std::string label = {};  // of the trace, for people
};

// Runs step() once, as plain LibTorch would, and returns what it did: each operator with its time
// and with the bytes that it needed while it ran, each storage from where it was made to where the
// program let go of it. checkpoint() and its kin only call their functions meanwhile. `keep` lists
// what the program holds at the end. An operator is replayable when a scope with a budget would run
// it again for its results. Storages that no operator of the step touches are in the trace as
// constants that nobody reads, so that the peak of graph::run_plainly() is the allocator's.
// LibTorch's memory from before install() counts as 0 bytes. Run a step before: the first one makes
// the optimizer's state. Throws: what step() throws; ScopeConflict when a scope with a budget is
// open.
NEAP_EXPORT graph::Trace trace_step(const std::function<void()>& step,
                                    const TraceOptions& options = {});

// The same of so many steps in turn: the time of an operator is the median, its workspace the
// largest. Throws: also InvalidArgument for fewer than one step; Error, with the first operator
// that differs, when the steps are not the same. A step that grows, or depends on the data, has no
// plan.
NEAP_EXPORT graph::Trace trace_steps(const std::function<void()>& step,
                                     const TraceOptions& options = {}, std::int64_t steps = 3);

// Runs step() once, as plain LibTorch would, and remembers what it did. A scope that is opened
// later with a budget and the mode Planned plans this step before its first operator. So the
// smallest budget of a first step is that of a plan, and not the larger one that an online step
// takes. Give it the step that the scope will hold, once for each kind of step: the first step of a
// training makes the optimizer's state, so it is another kind than those after it. step() changes
// the model that it trains: give it a copy. Regions are not known here, so a step with rules
// (custom_checkpoint()) is online the first time. Memory: what the plain step takes; some 400 bytes
// an operator for the last 4 kinds, until a planned scope runs another step. Time: the step, and
// the search for a plan when the scope opens. Throws: what step() throws; ScopeConflict when a
// scope is open.
NEAP_EXPORT void plan_ahead(const std::function<void()>& step);

[[deprecated("it is neap::trace_step() now")]] inline graph::Trace trace(
    const std::function<void()>& step, const TraceOptions& options = {}) {
  return trace_step(step, options);
}

}  // namespace neap
