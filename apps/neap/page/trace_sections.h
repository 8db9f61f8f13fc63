// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The sections of a report about one traced step. No LibTorch here.
#pragma once

#include "page/measured_sections.h"
#include "page/page.h"

#include <neap/planner.h>

#include <optional>
#include <string>
#include <vector>

namespace neap::app {

struct TracedStep {
  std::string file;
  graph::Trace trace;
  std::optional<planner::Solution> solution;  // for a budget; absent: the plain step alone
  std::optional<planner::Frontier> frontier;
  std::vector<OtherWay> ways = {};  // beside it
};

void add_trace_sections(Page& page, const TracedStep& step);

}  // namespace neap::app
