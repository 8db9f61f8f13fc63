// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/plan_job.h: a traced step and what the planner needs to make a plan of it.
#pragma once

#include "autoplan/catalogue.h"
#include "autoplan/step_id.h"

#include <neap/graph.h>
#include <neap/planner.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace neap::autoplan {

// Immutable once a worker has it: another thread reads it.
struct PlanJob {
  StepId step;
  graph::Trace trace;
  std::vector<std::uint32_t> numbers;        // the engine's number of each storage
  std::vector<std::uint64_t> calls;          // the engine's hash of all operators up to each
  std::int64_t base = 0;                     // bytes that were live when the step began
  std::int64_t margin = 0;                   // bytes of the budget that the plan leaves free
  std::shared_ptr<const graph::Plan> fixed;  // the plan of a file; null: the planner makes one
  std::string cache;                         // the directory in which the plan is kept; empty: none
  // Recomputations that are known to fit, from plans of smaller budgets and from the traced step.
  std::vector<std::vector<planner::Rerun>> known;
  std::optional<Bytes> offload_limit;  // of the tier; absent: none
  // Operators, in rising order, whose results stay where that leaves a plan.
  std::vector<std::int64_t> preferred;
};

enum class Effort : std::uint8_t {
  Quick,     // the rules that a search starts from, and no search: a sixth of the time
  Thorough,  // a whole search
};

// The entry of the job, without a plan. Throws: std::bad_alloc.
CatalogueEntry entry_of(std::shared_ptr<const PlanJob> job);
// Searches for the plan of the entry's job and compiles it. A thorough one is written into the
// job's cache. Where no plan fits or memory runs out, the entry has no step, and its note says why.
// Threads: any. Cost: that of planner::solve().
CatalogueEntry make_plan(CatalogueEntry entry, Effort effort, const std::stop_token& stop) noexcept;

}  // namespace neap::autoplan
