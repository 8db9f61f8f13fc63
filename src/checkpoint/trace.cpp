// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "checkpoint/planned_steps.h"
#include "checkpoint/ready_engine.h"
#include "checkpoint/recorder.h"
#include "memory/allocator.h"

#include <neap/checkpoint.h>

namespace neap {
namespace {

using checkpointing::Recorder;
using checkpointing::Recording;

// Takes the observer away also when the step throws.
class Observing {
 public:
  explicit Observing(engine::Observer& observer) {
    checkpointing::ready_engine().set_observer(&observer);
  }
  Observing(const Observing&) = delete;
  Observing& operator=(const Observing&) = delete;
  ~Observing() { checkpointing::ready_engine().set_observer(nullptr); }
};

// A plan names the step's operators and storages as the engine will, in a scope that is opened where this one was: see
// graph::Operator::call. Inside of another scope the engine has counted before.
void take_calls(Recording& recording) {
  const auto calls = checkpointing::ready_engine().calls();
  if (calls.size() != recording.operators.size()) return;
  for (std::size_t i = 0; i < recording.numbers.size(); ++i) {
    if (recording.numbers[i] != i) return;
  }
  recording.calls.assign(calls.begin(), calls.end());
}

Recording record(const std::function<void()>& step, const TraceOptions& options) {
  Scope scope({.observe = true});
  if (checkpointing::ready_engine().budget_bytes() > 0) {
    throw ScopeConflict(
        "neap::trace: a scope with a budget is open, and what it evicts is no part of a plain "
        "step; trace outside of "
        "it");
  }
  Recorder recorder(options.known);
  {
    const Observing observing(recorder);
    step();
  }
  Recording recording = recorder.finish();
  take_calls(recording);
  scope.end();
  return recording;
}

}  // namespace

void plan_ahead(const std::function<void()>& step) {
  if (checkpointing::ready_engine().scopes() > 0) {
    throw ScopeConflict("neap::plan_ahead: a scope is open; watch the step before it");
  }
  const std::int64_t base = memory::usage().live;
  checkpointing::PlannedSteps::instance().foresee(record(step, {}), base);
}

graph::Trace trace(const std::function<void()>& step, const TraceOptions& options) {
  return make_trace(record(step, options), options.label);
}

graph::Trace trace_steps(const std::function<void()>& step, const TraceOptions& options,
                         std::int64_t steps) {
  if (steps < 1) {
    throw InvalidArgument("neap::trace_steps: " + std::to_string(steps) +
                          " steps; expected 1 or more");
  }
  std::vector<Recording> recordings;
  for (std::int64_t i = 0; i < steps; ++i) {
    recordings.push_back(record(step, options));
    const std::string difference = first_difference(recordings.front(), recordings.back());
    if (difference.empty()) continue;
    throw Error("neap::trace_steps: step " + std::to_string(i + 1) +
                " is not as the first one: " + difference +
                "; trace a step that does the same each time, after one that is not traced and "
                "makes the optimizer's state");
  }
  return make_trace(merge(std::move(recordings)), options.label);
}

}  // namespace neap
