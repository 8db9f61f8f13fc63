// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Traces a step of a model, for neap trace and neap plan.
#pragma once

#include "command_line.h"
#include "job.h"

#include <neap/graph.h>

namespace neap::app {

// The first step is not traced, because it makes the optimizer's state. Traced steps begin and end
// without gradients.
graph::Trace traced_step(const TracingOptions& options);
// The same of a step on this batch, in so many parts, with a model of its own.
graph::Trace traced_step(const Task& task, const train::MicroBatch& batch, std::int64_t accumulate,
                         std::int64_t repetitions);

}  // namespace neap::app
