// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A step of a model as a trace, for neap trace and neap plan.
#pragma once

#include "command_line.h"

#include <neap/graph.h>

namespace neap::app {

// After a step that is not traced and makes the optimizer's state. The traced ones begin and end without gradients.
graph::Trace trace_step(const TracingOptions& options);

}  // namespace neap::app
