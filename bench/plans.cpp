// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap_bench_plans [TRACE...] prints bench/plans.md, for the named traces, or else for traces of
// each family and of neap's own models. It has the extra time of plans by budget, beside the lower
// bound and the starts of the local search, and the planning time by the length of a step. No
// LibTorch.
#include "bench/traces/generators.h"

#include <neap/planner.h>
#include <neap/report.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace neap::bench {
namespace {

using report::fixed;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string percent(std::int64_t ns, std::int64_t of) {
  return fixed(100 * static_cast<double>(ns) / static_cast<double>(std::max<std::int64_t>(of, 1)),
               1);
}

report::Table quality_table() {
  return report::Table({{"budget, %"},
                        {"plan, + %"},
                        {"bound, + %"},
                        {"best start, + %"},
                        {"it is", report::Align::Left},
                        {"dtr_eq, + %"},
                        {"next_use, + %"},
                        {"s"},
                        {"block, + %"}});
}

void add_quality(report::Table& table, const graph::Trace& trace, int share_percent) {
  const Clock::time_point begin = Clock::now();
  const std::string share = std::to_string(share_percent);
  try {
    const planner::Solution solution =
        planner::solve(trace, {.budget = planner::budget_of_share(trace, share_percent / 100.0)});
    const double took = seconds_since(begin);
    std::map<std::string, std::string> found;
    std::optional<std::int64_t> best;
    std::string name = "-";
    for (const planner::Start& start : solution.starts) {
      found[start.name] = start.rerun_ns ? percent(*start.rerun_ns, solution.plain_ns) : "-";
      if (!start.rerun_ns || (best && *best <= *start.rerun_ns)) continue;
      best = start.rerun_ns;
      name = start.name;
    }
    const auto of = [&](const char* start) {
      return found.contains(start) ? found[start] : std::string("-");
    };
    table.add_row(
        {share, percent(solution.rerun_ns, solution.plain_ns),
         percent(solution.bound_ns, solution.plain_ns),
         best ? percent(*best, solution.plain_ns) : "-", name, of("dtr_eq"), of("next_use"),
         fixed(took, 1),
         percent(planner::place(trace, solution.plan).arena.count() - solution.plan.predicted_peak,
                 solution.plan.predicted_peak)});
  } catch (const planner::Infeasible& error) {
    const bool proved = error.floor > error.budget;
    table.add_row({share, proved ? "there is none" : "none found", "", "", "", "", "", "", ""});
  }
}

void show(const std::string& title, const graph::Trace& trace) {
  report::Table table = quality_table();
  for (const int share : {90, 80, 70, 60, 50, 40, 30, 20, 10}) add_quality(table, trace, share);
  std::printf("\n### %s\n\n%s", title.c_str(), table.markdown().c_str());
  std::fflush(stdout);
}

void show_growth() {
  report::Table table({{"operators"},
                       {"family", report::Align::Left},
                       {"plan, + %"},
                       {"dtr_eq, + %"},
                       {"s"},
                       {"simulate(), ms"}});
  for (const std::int64_t operators : {1000, 10'000, 100'000, 300'000}) {
    for (const char* const family : {"residual", "transformer"}) {
      const graph::Trace trace = make_trace(family, operators, 1);
      const Bytes budget = planner::budget_of_share(trace, 0.5);
      const Clock::time_point begin = Clock::now();
      const planner::Solution solution = planner::solve(trace, {.budget = budget});
      const double took = seconds_since(begin);
      const Clock::time_point planned = Clock::now();
      (void)graph::simulate(trace, solution.plan);
      const double simulated = seconds_since(planned);
      std::string dtr_eq = "-";
      for (const planner::Start& start : solution.starts) {
        if (start.name == "dtr_eq" && start.rerun_ns) {
          dtr_eq = percent(*start.rerun_ns, solution.plain_ns);
        }
      }
      table.add_row({std::to_string(operators), family,
                     percent(solution.rerun_ns, solution.plain_ns), dtr_eq, fixed(took, 1),
                     fixed(1000 * simulated, 1)});
    }
  }
  std::printf("\n## Planning time\n\nAt 50 %%, bound included.\n\n%s", table.markdown().c_str());
}

int run(int argc, char** argv) {
  std::vector<std::string> files(argv + 1, argv + argc);
  const std::time_t now = std::time(nullptr);
  char date[32];
  std::strftime(date, sizeof(date), "%Y-%m-%d", std::localtime(&now));
  std::printf(
      "# Plans\n\n`make bench-plans`, %s, %u threads. Extra time over the plain step, in percent, "
      "by budget: a share of what the plain step needs above what is there before it. No plan does "
      "with less than the bound. "
      "\"best start\" is what local search began with. \"there is none\" is proved. \"block\" is "
      "the "
      "block of memory that all fits into, above the plan's peak.\n\n## "
      "Quality\n",
      date, std::thread::hardware_concurrency());
  if (files.empty()) {
    for (const std::string_view family : families()) {
      show(std::string(family) + ", 1000 operators", make_trace(family, 1000, 1));
    }
    const std::filesystem::path traces(NEAP_TRACES_DIR);
    for (const char* const model : {"resnet", "gpt", "lstm", "mlp", "unet"}) {
      show(std::string(model) + ", traced",
           graph::read_trace(traces / (std::string(model) + ".jsonl.gz")));
    }
    for (const char* const model :
         {"resnet50", "densenet121", "swin_t", "deeplabv3", "gpt2", "lstm_cells"}) {
      const graph::Trace trace =
          graph::read_trace(traces / "gpu" / (std::string(model) + ".jsonl.gz"));
      show(trace.label + ", " + trace.device + ", PyTorch " + trace.torch, trace);
    }
    show_growth();
    return 0;
  }
  for (const std::string& file : files) {
    show(file, graph::read_trace(std::filesystem::path(file)));
  }
  return 0;
}

}  // namespace
}  // namespace neap::bench

int main(int argc, char** argv) {
  try {
    return neap::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "neap_bench_plans: %s\n", error.what());
    return 1;
  }
}
