// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A traced step in the Trace Event Format, which ui.perfetto.dev and chrome://tracing open. No
// LibTorch here.
#pragma once

#include "page/trace_sections.h"

#include <string>

namespace neap::app {

// The plain step as one process, and the step inside the budget, where there is one, as a second.
// Times are those of the traced operators, one after the other.
std::string chrome_trace(const TracedStep& step);

}  // namespace neap::app
