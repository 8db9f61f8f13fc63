// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A traced step as a snapshot of torch.cuda.memory._snapshot(), which
// https://pytorch.org/memory_viz and torch/cuda/_memory_viz.py open. No LibTorch here.
#pragma once

#include "page/trace_sections.h"

#include <string>

namespace neap::app {

// A pickle of the step inside the budget, or of the plain step where there is none. Each storage is
// an allocation, and so is each workspace; what is live at once never exceeds the peak of
// graph::timeline(), and reaches it. The addresses are those of planner::place().
std::string memory_snapshot(const TracedStep& step);

}  // namespace neap::app
