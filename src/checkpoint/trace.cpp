// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/planned_steps.h"
#include "autoplan/recorder.h"
#include "intercept/storage_access.h"
#include "memory/allocator.h"
#include "policy/ready_engine.h"

#include <neap/scope.h>
#include <neap/trace.h>

#include <cstdint>
#include <unordered_map>

namespace neap {
namespace {

using autoplan::Recorder;
using autoplan::Recording;

// Sets the observer, and removes it even when the step throws.
class Observing {
 public:
  explicit Observing(engine::Observer& observer) { policy::ready_engine().set_observer(&observer); }
  Observing(const Observing&) = delete;
  Observing& operator=(const Observing&) = delete;
  ~Observing() { policy::ready_engine().set_observer(nullptr); }
};

// A plan names operators and storages as the engine names them in a scope that is opened where this
// one was: see graph::Operator::call. Inside of another scope the engine's numbers do not begin
// with this step. Then no hashes are taken.
void take_calls(Recording& recording) {
  const auto calls = policy::ready_engine().calls();
  if (calls.size() != recording.operators.size()) return;
  for (std::size_t i = 0; i < recording.numbers.size(); ++i) {
    if (recording.numbers[i] != i) return;
  }
  recording.calls.assign(calls.begin(), calls.end());
}

// The keys are the data addresses of the tensors' storages.
std::unordered_map<const void*, graph::StorageKind> kinds_of(
    const std::vector<KnownTensor>& known) {
  std::unordered_map<const void*, graph::StorageKind> kinds;
  for (const KnownTensor& one : known) {
    c10::StorageImpl* const storage = intercept::storage_of(one.tensor);
    if (storage != nullptr) kinds[intercept::data_ptr_of(*storage).get_context()] = one.kind;
  }
  return kinds;
}

enum class Reserved : std::uint8_t { Ignored, Watched };

Recording record(const std::function<void()>& step, const TraceOptions& options,
                 Reserved reserved) {
  Scope scope({.observe = true});
  if (policy::ready_engine().budget_bytes() > 0) {
    throw ScopeConflict(
        "neap::trace_step: a scope with a budget is open, and what it evicts is no part of a plain "
        "step; trace outside of "
        "it");
  }
  Recorder recorder(kinds_of(options.known));
  if (reserved == Reserved::Watched) recorder.watch_reserved();
  {
    const Observing observing(recorder);
    step();
  }
  if (recorder.ended() != Recorder::Ended::No) {
    throw OutOfMemory("the system has no memory for the trace of a step; end other programs");
  }
  Recording recording = recorder.finish();
  take_calls(recording);
  scope.end();
  return recording;
}

}  // namespace

void plan_ahead(const std::function<void()>& step) {
  if (policy::ready_engine().scopes() > 0) {
    throw ScopeConflict("neap::plan_ahead: a scope is open; watch the step before it");
  }
  const std::int64_t base = memory::usage().live;
  autoplan::PlannedSteps::instance().add_watched(record(step, {}, Reserved::Ignored), base);
}

graph::Trace trace_step(const std::function<void()>& step, const TraceOptions& options) {
  return make_trace(record(step, options, Reserved::Watched), options.label);
}

graph::Trace trace_steps(const std::function<void()>& step, const TraceOptions& options,
                         std::int64_t steps) {
  if (steps < 1) {
    throw InvalidArgument("neap::trace_steps: " + std::to_string(steps) +
                          " steps; expected 1 or more");
  }
  std::vector<Recording> recordings;
  for (std::int64_t i = 0; i < steps; ++i) {
    recordings.push_back(record(step, options, Reserved::Watched));
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
