// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/plan_job.h"

#include "autoplan/compile.h"
#include "autoplan/plan_cache.h"
#include "autoplan/plan_file.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace neap::autoplan {
namespace {

// The results of these operators, in rising order, stay: they may not run again.
void hold_results(graph::Trace& trace, const std::vector<std::int64_t>& operators) {
  auto next = operators.begin();
  std::int64_t number = 0;
  for (graph::Event& event : trace.events) {
    auto* const op = std::get_if<graph::Operator>(&event);
    if (op == nullptr) continue;
    while (next != operators.end() && *next < number) ++next;
    if (next != operators.end() && *next == number) op->replayable = false;
    ++number;
  }
}

graph::Plan solve(const PlanJob& job, const graph::Trace& trace,
                  const std::vector<std::vector<planner::Rerun>>& known, Effort effort,
                  const std::stop_token& stop) {
  constexpr std::chrono::milliseconds kNoSearch{1};
  planner::Options options{
      .budget = Bytes(job.step.budget - job.margin),
      .time_limit = effort == Effort::Quick ? std::optional(kNoSearch) : std::nullopt,
      .followable = true,
      .offload_limit = job.offload_limit,
      .threads = 1,
      .stop = stop,
      .known = known};
  try {
    return planner::solve(trace, options).plan;
  } catch (const planner::Infeasible& error) {
    if (error.smallest_known > Bytes(job.step.budget)) throw;
    options.budget = error.smallest_known;  // the allocator may do with less than the margin
    return planner::solve(trace, options).plan;
  }
}

// With the preferred results kept. Throws: planner::Infeasible.
graph::Plan solve_with_preferred(const PlanJob& job, Effort effort, const std::stop_token& stop) {
  graph::Trace trace = job.trace;
  hold_results(trace, job.preferred);
  auto known = job.known;
  for (std::vector<planner::Rerun>& reruns : known) {
    std::erase_if(reruns, [&](const planner::Rerun& one) {
      return std::ranges::binary_search(job.preferred, one.op);
    });
  }
  return solve(job, trace, known, effort, stop);
}

graph::Plan search(const PlanJob& job, Effort effort, const std::stop_token& stop) {
  if (!job.preferred.empty()) {
    try {
      return solve_with_preferred(job, effort, stop);
    } catch (const planner::Infeasible&) {
      // The plan without them follows.
    }
  }
  return solve(job, job.trace, job.known, effort, stop);
}

std::string why_no_plan(const PlanJob& job, const std::string& why) {
  if (job.step.plan_file.empty()) return "this step goes on without a plan: " + why;
  return job.step.plan_file + " does not fit this step, which is online: " + why;
}

void keep(const CatalogueEntry& entry) {
  write_cached(entry.job->cache, {.budget = entry.id.budget,
                                  .base = entry.base,
                                  .margin = entry.margin,
                                  .step = *entry.step,
                                  .offloads = entry.id.offloads});
}

void add_plan(CatalogueEntry& entry, Effort effort, const std::stop_token& stop) {
  const PlanJob& job = *entry.job;
  try {
    const graph::Plan plan = job.fixed
                                 ? fit_to_trace(*job.fixed, job.trace, job.step.budget, job.margin)
                                 : search(job, effort, stop);
    entry.reruns = planner::reruns_of(plan);
    entry.step = std::make_shared<const PlannedStep>(
        compile(job.trace, plan, std::min(job.margin, job.step.budget - plan.predicted_peak),
                job.numbers, job.calls));
  } catch (const std::bad_alloc&) {
    entry.note = why_no_plan(job, "there was no memory to search for one; end other programs");
    return;
  } catch (const std::exception& error) {
    entry.note = why_no_plan(job, error.what());
    return;
  }
  if (job.cache.empty() || effort != Effort::Thorough || stop.stop_requested()) return;
  try {
    keep(entry);
  } catch (const std::bad_alloc&) {
    entry.note = "there was no memory to write the plan into " + job.cache;
  } catch (const std::exception& error) {
    entry.note = error.what();
  }
}

}  // namespace

CatalogueEntry entry_of(std::shared_ptr<const PlanJob> job) {
  CatalogueEntry entry;
  entry.id = job->step;
  entry.base = job->base;
  entry.margin = job->margin;
  entry.job = std::move(job);
  return entry;
}

CatalogueEntry make_plan(CatalogueEntry entry, Effort effort,
                         const std::stop_token& stop) noexcept {
  const auto start = std::chrono::steady_clock::now();
  try {
    add_plan(entry, effort, stop);
  } catch (const std::exception&) {
    entry.note = "out of memory";  // a longer text would take some
  }
  entry.planning_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start)
          .count();
  return entry;
}

}  // namespace neap::autoplan
