// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Traces a step of a model, for neap trace and neap plan.
#pragma once

#include "command_line.h"
#include "job.h"

#include <neap/graph.h>

#include <string>

namespace neap::app {

// The first step is not traced, because it makes the optimizer's state. Traced steps begin and end
// without gradients.
graph::Trace traced_step(const TracingOptions& options);
// The same of a step on this batch, in so many parts, with a model of its own.
graph::Trace traced_step(const Task& task, const train::MicroBatch& batch, std::int64_t accumulate,
                         std::int64_t repetitions);

// From here on SIGINT and SIGTERM end the process at once: no operator runs that could throw after
// one, or nothing would be lost. Throws: Interrupted, after a signal that came before.
void let_signals_end();
// What commands that look at one step begin with: reads `file`, or traces the step where it is
// empty, and lets signals end. Throws: also as graph::read_trace().
graph::Trace read_or_traced_step(const TracingOptions& options, const std::string& file);

}  // namespace neap::app
