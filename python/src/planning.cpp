// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Traces, plans and frontiers for Python: torch_neap/_planning.py.
#include "guarded.h"

#include <neap/graph.h>
#include <neap/machine.h>
#include <neap/planner.h>
#include <neap/trace.h>

#include <cstdint>
#include <sstream>

using neap::python::guarded;

namespace {

using neap::graph::Trace;
using neap::planner::Solution;

Trace& trace_of(void* trace) { return *static_cast<Trace*>(trace); }
Solution& solution_of(void* solution) { return *static_cast<Solution*>(solution); }

template <class Write>
void write_file(const char* path, Write write) {
  std::ostringstream text;
  write(text);
  neap::OutputFile file(path);
  file.append(text.str());
  file.finish();
}

}  // namespace

// ---- Traces ----

// `step` returns 0, or another number when it has failed: then nothing is traced.
NEAP_PYTHON int neap_trace_step(int (*step)(), std::int64_t steps, void** trace) {
  return guarded([&] {
    const auto run = [step] {
      if (step() != 0) throw neap::Error("the step has raised an exception");
    };
    *trace = new Trace(steps == 1 ? neap::trace_step(run) : neap::trace_steps(run, {}, steps));
  });
}
NEAP_PYTHON int neap_trace_read(const char* path, void** trace) {
  return guarded([&] { *trace = new Trace(neap::graph::read_trace(path)); });
}
NEAP_PYTHON int neap_trace_write(void* trace, const char* path) {
  return guarded([&] {
    write_file(path, [&](std::ostream& out) { neap::graph::write_trace(trace_of(trace), out); });
  });
}
NEAP_PYTHON void neap_trace_free(void* trace) { delete &trace_of(trace); }
// operators, their ns, bytes given at the start, bytes at the plain peak
NEAP_PYTHON int neap_trace_figures(void* trace, std::int64_t* four) {
  return guarded([&] {
    const neap::graph::PlainRun plain = neap::graph::run_plainly(trace_of(trace));
    four[0] = four[1] = 0;
    for (const neap::graph::Event& event : trace_of(trace).events) {
      if (const auto* const op = std::get_if<neap::graph::Operator>(&event)) {
        ++four[0];
        four[1] += op->ns;
      }
    }
    four[2] = plain.given;
    four[3] = plain.peak;
  });
}
// share: of the plain step's bytes above what is given, 0 to 1.
NEAP_PYTHON int neap_trace_budget_of_share(void* trace, double share, std::int64_t* bytes) {
  return guarded([&] { *bytes = neap::planner::budget_of_share(trace_of(trace), share).count(); });
}

// ---- Plans ----

// budget: bytes; -1: the smallest that works.
NEAP_PYTHON int neap_plan(void* trace, std::int64_t budget, void** solution) {
  return guarded([&] {
    neap::planner::Options options;
    options.followable = true;
    if (budget == -1) {
      *solution = new Solution(neap::planner::solve_smallest(trace_of(trace), options));
      return;
    }
    options.budget = neap::Bytes(budget);
    *solution = new Solution(neap::planner::solve(trace_of(trace), options));
  });
}
NEAP_PYTHON int neap_plan_write(void* solution, const char* path) {
  return guarded([&] {
    write_file(
        path, [&](std::ostream& out) { neap::graph::write_plan(solution_of(solution).plan, out); });
  });
}
NEAP_PYTHON void neap_plan_free(void* solution) { delete &solution_of(solution); }
// budget, predicted peak, plain ns, ns of reruns, a lower bound of these ns, number of reruns
NEAP_PYTHON void neap_plan_figures(void* solution, std::int64_t* six) {
  const Solution& found = solution_of(solution);
  six[0] = found.plan.budget;
  six[1] = found.plan.predicted_peak;
  six[2] = found.plain_ns;
  six[3] = found.rerun_ns;
  six[4] = found.bound_ns;
  six[5] = static_cast<std::int64_t>(neap::planner::reruns_of(found.plan).size());
}

// ---- Frontiers ----

// For each of `points` budgets three numbers: bytes, ns of reruns, a lower bound of these ns; -1: no
// plan was found, there is none. `four`: head, plain peak and floor in bytes, plain ns.
NEAP_PYTHON int neap_frontier(void* trace, std::int64_t points, std::int64_t* rows,
                              std::int64_t* four) {
  return guarded([&] {
    neap::planner::Options options;
    options.followable = true;
    const neap::planner::Frontier frontier =
        neap::planner::frontier(trace_of(trace), points, options);
    for (const neap::planner::FrontierPoint& point : frontier.points) {
      *rows++ = point.budget.count();
      *rows++ = point.rerun_ns.value_or(-1);
      *rows++ = point.bound_ns.value_or(-1);
    }
    four[0] = frontier.head.count();
    four[1] = frontier.plain.count();
    four[2] = frontier.floor.count();
    four[3] = frontier.plain_ns;
  });
}
