// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap explain: what a plan does with each storage of the peak, and why.
#include "commands.h"
#include "terminal.h"
#include "trace.h"
#include "wanted_budget.h"

#include <neap/explain.h>
#include <neap/planner.h>

#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

namespace neap::app {
namespace {

using Json = nlohmann::ordered_json;
using graph::Explanation;
using graph::Fate;

struct Explained {
  graph::Trace trace;
  planner::Solution solution;
  std::int64_t plain_peak = 0;
  std::vector<Explanation> storages;
};

Json json_of(const Explained& step) {
  Json storages = Json::array();
  for (const Explanation& one : step.storages) {
    storages.push_back({{"fate", graph::name_of(one.fate)},
                        {"held_bytes", one.bytes},
                        {"at_plain_peak", one.at_plain_peak},
                        {"at_peak", one.at_peak},
                        {"category", graph::name_of(one.category)},
                        {"layer", text_or_null(one.layer)},
                        {"operator", text_or_null(one.maker)},
                        {"remake_ns", one.remake_ns ? Json(*one.remake_ns) : Json()},
                        {"times", one.times},
                        {"loads", one.loads},
                        {"why", one.why}});
  }
  return {{"label", step.trace.label},
          {"budget_bytes", step.solution.plan.budget},
          {"plain_peak_bytes", step.plain_peak},
          {"predicted_peak_bytes", step.solution.plan.predicted_peak},
          {"plain_ns", step.solution.plain_ns},
          {"extra_ns", step.solution.rerun_ns},
          {"storages", storages}};
}

constexpr const char* kFates =
    "pinned: nothing can make it again. kept: the plan has room for it, or what it frees instead "
    "is "
    "made again in less time. recomputed: freed, and made again before it is read. evicted: freed, "
    "since nothing reads it afterwards. To make again: the time of the operators that make it and "
    "write into it, without what they read.";

constexpr const char* kOffloaded =
    " offloaded: copied to the tier, freed, and loaded before it is read.";

std::string fates_of(const Explained& step) {
  const bool offloads = std::ranges::count(step.storages, Fate::Offloaded, &Explanation::fate) > 0;
  return std::string(kFates) + (offloads ? kOffloaded : "");
}

// By fate, what is there at each of the two peaks.
std::string sums_of(const Explained& step, const Terminal& terminal) {
  Rows rows;
  for (const Fate fate :
       {Fate::Pinned, Fate::Kept, Fate::Recomputed, Fate::Evicted, Fate::Offloaded}) {
    std::int64_t count = 0, plain = 0, planned = 0;
    for (const Explanation& one : step.storages) {
      if (one.fate != fate) continue;
      ++count;
      if (one.at_plain_peak) plain += one.bytes;
      if (one.at_peak) planned += one.bytes;
    }
    if (fate == Fate::Offloaded && count == 0) continue;  // most steps have no tier
    rows.push_back(
        {graph::name_of(fate), std::to_string(count), Bytes(plain).text(), Bytes(planned).text()});
  }
  return fitted_table(
      {{"fate", report::Align::Left}, {"storages"}, {"at the plain peak"}, {"at the plan's peak"}},
      rows, {1}, terminal);
}

std::string storages_of(const Explained& step, const Terminal& terminal) {
  Rows rows;
  for (const Explanation& one : step.storages) {
    rows.push_back({Bytes(one.bytes).text(), graph::name_of(one.fate), one.layer,
                    one.maker.empty() ? graph::name_of(one.category) : one.maker,
                    one.remake_ns ? milliseconds(*one.remake_ns) : "never",
                    one.at_plain_peak && one.at_peak ? "both"
                    : one.at_peak                    ? "plan's"
                                                     : "plain",
                    one.why});
  }
  return table_with_reasons({{"size"},
                             {"fate", report::Align::Left},
                             {"layer", report::Align::Left},
                             {"made by", report::Align::Left},
                             {"to make again"},
                             {"peak", report::Align::Left},
                             {"why", report::Align::Left}},
                            rows, terminal);
}

void tell(const Explained& step, Output& output, const Terminal& terminal) {
  const graph::Plan& plan = step.solution.plan;
  output.text(report::fit(printable(step.trace.label) + '\n' +
                              table({{"budget", Bytes(plan.budget).text()},
                                     {"plain peak", Bytes(step.plain_peak).text()},
                                     {"the plan's peak", Bytes(plan.predicted_peak).text()},
                                     {"plain time", milliseconds(step.solution.plain_ns)},
                                     {"extra time", milliseconds(step.solution.rerun_ns)}}),
                          terminal.style) +
              "\n\n" + sums_of(step, terminal) + '\n' +
              (terminal.is_bounded ? wrapped(fates_of(step), 0, terminal.style.columns - 1)
                                   : fates_of(step) + '\n') +
              '\n' + storages_of(step, terminal));
}

}  // namespace

int explain(const ViewOptions& options, Output& output) {
  const WantedBudget budget = parse_wanted_budget(options.budget);
  Explained step{.trace = read_or_traced_step(options, options.file),
                 .solution = {},
                 .plain_peak = 0,
                 .storages = {}};
  planner::Options search{.budget = bytes_of(budget, step.trace)};
  search.followable = true;
  step.solution = planner::solve(step.trace, search);
  step.plain_peak = graph::run_plainly(step.trace).peak;
  step.storages = graph::explain(step.trace, step.solution.plan);
  if (options.json) {
    output.json(json_of(step));
  } else {
    tell(step, output, terminal_of(STDOUT_FILENO));
  }
  return 0;
}

}  // namespace neap::app
