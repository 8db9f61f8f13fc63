// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap plan: shows what a traced step frees and reruns inside a budget, and what each budget costs.
#include "bandwidth.h"
#include "commands.h"
#include "page/whole_page.h"
#include "trace.h"
#include "wanted_budget.h"

#include <neap/planner.h>
#include <neap/report.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <sstream>
#include <string>

namespace neap::app {
namespace {

using Json = nlohmann::ordered_json;

std::string percent(std::int64_t part, std::int64_t whole) {
  const double share = whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
  return format_number("%.2f %%", 100 * share);
}

// The additional time, as a share of the plain step's and in milliseconds.
std::string extra(std::int64_t ns, std::int64_t plain_ns) {
  return percent(ns, plain_ns) + ", " + milliseconds(ns);
}

class Planning {
 public:
  Planning(const PlanOptions& options, Output& output) : options_(options), output_(output) {
    search_.seed = static_cast<std::uint64_t>(options.seed);
    search_.followable = !options.format_rules;
    if (options.time_limit_seconds) {
      // At most a year, because a longer time in milliseconds would not fit.
      const double seconds = std::min(*options.time_limit_seconds, 3.2e7);
      search_.time_limit = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * seconds));
    }
  }

  int run() {
    std::optional<WantedBudget> wanted;
    if (!options_.frontier && !options_.smallest) wanted = parse_wanted_budget(options_.budget);
    const bool to_output = options_.out == "-";
    ReportFile out("-o", to_output ? "" : options_.out);
    ReportFile csv("--csv", options_.csv), svg("--svg", options_.svg);
    ReportFile page("--report", options_.report);
    if (!options_.bandwidth.empty()) set_bandwidth(options_.bandwidth, trace_);  // refused first
    trace_ = read_or_traced_step(options_, options_.file);
    if (!options_.bandwidth.empty()) set_bandwidth(options_.bandwidth, trace_);
    if (options_.frontier) {
      const planner::Frontier frontier = planner::frontier(trace_, options_.points, search_);
      const std::optional<planner::Frontier> reruns_alone = without_tier();
      csv.write(
          [&](std::ostream& file) { file << table_of(frontier, /*for_people=*/false).csv(); });
      svg.write([&](std::ostream& file) { file << report::svg(plot_of(frontier, reruns_alone)); });
      draw(page, std::nullopt, frontier);
      tell(frontier, reruns_alone);
      return 0;
    }
    const planner::Solution solution = solve(wanted);
    // Before a plan is written, it is checked once more by the rules of the format.
    const graph::Outcome outcome = graph::verify(trace_, solution.plan);
    const auto write = [&](std::ostream& file) { graph::write_plan(solution.plan, file); };
    out.write(write);
    draw(page, solution, std::nullopt);
    tell(solution, outcome, to_output);
    if (to_output) {
      std::ostringstream text;
      text.exceptions(std::ios::badbit);  // as in ReportFile::write()
      write(text);
      output_.text(text.str());
    }
    return 0;
  }

 private:
  // The frontier of the step without its tier; nullopt: it has none.
  std::optional<planner::Frontier> without_tier() {
    if (trace_.out_bytes_per_s == 0) return {};
    graph::Trace alone = trace_;
    alone.out_bytes_per_s = alone.in_bytes_per_s = 0;
    return planner::frontier(alone, options_.points, search_);
  }

  void draw(ReportFile& page, const std::optional<planner::Solution>& solution,
            const std::optional<planner::Frontier>& frontier) {
    if (options_.report.empty()) return;
    PageContent content;
    content.steps.push_back({options_.file, trace_, solution, frontier});
    page.write([&](std::ostream& file) { file << page_of("neap plan: " + trace_.label, content); });
    say("wrote " + options_.report + kHowToOpen);
  }

  planner::Solution solve(const std::optional<WantedBudget>& wanted) {
    search_.bound_time = std::chrono::seconds(10);
    if (search_.time_limit) search_.bound_time = std::min(search_.bound_time, *search_.time_limit);
    if (!wanted) {
      planner::Solution smallest = planner::solve_smallest(trace_, search_);
      if (search_.followable) {  // adds the allocator's room, so that one can train in this budget
        smallest.plan.budget += planner::allocator_room(Bytes(smallest.plan.budget)).count();
      }
      return smallest;
    }
    search_.budget = bytes_of(*wanted, trace_);
    return planner::solve(trace_, search_);
  }

  void tell(const planner::Solution& solution, const graph::Outcome& outcome, bool on_error) {
    const std::int64_t head = planner::budget_of_share(trace_, 0).count();
    const std::int64_t plain_peak = graph::run_plainly(trace_).peak;
    const std::int64_t arena = planner::place(trace_, solution.plan).arena.count();
    if (options_.json) {
      Json starts = Json::array();
      for (const planner::Start& start : solution.starts) {
        starts.push_back({{"name", start.name}, {"extra_ns", number(start.rerun_ns)}});
      }
      output_.json(Json{{"label", trace_.label},
                        {"plain_base_bytes", head},
                        {"plain_peak_bytes", plain_peak},
                        {"plain_ns", solution.plain_ns},
                        {"budget_bytes", solution.plan.budget},
                        {"predicted_peak_bytes", solution.plan.predicted_peak},
                        {"arena_bytes", arena},
                        {"predicted_ns", solution.plan.predicted_ns},
                        {"extra_ns", solution.rerun_ns},
                        {"waited_ns", solution.waited_ns},
                        {"offloaded_bytes", outcome.offloaded_peak},
                        {"bound_ns", solution.bound_ns},
                        {"reruns", outcome.reruns},
                        {"starts", starts},
                        {"winner", solution.winner}});
      return;
    }
    const std::int64_t plain_ns = solution.plain_ns;
    std::vector<Row> rows = {
        {"step", trace_.label},
        {"plain peak", Bytes(plain_peak).text()},
        {"of it there before the step", Bytes(head).text()},
        {"plain time", milliseconds(plain_ns)},
        {"budget", Bytes(solution.plan.budget).text()},
        {"share of what the plain step needs",
         percent(solution.plan.budget - head, plain_peak - head)},
        {"predicted peak", Bytes(solution.plan.predicted_peak).text()},
        {"in one block of memory", Bytes(arena).text()},
        {"operators that run again", std::to_string(outcome.reruns)},
        {"extra time", extra(solution.rerun_ns, plain_ns)},
        {"no plan takes less than", extra(solution.bound_ns, plain_ns)},
        {"distance to that", extra(solution.rerun_ns - solution.bound_ns, plain_ns)},
    };
    if (trace_.out_bytes_per_s > 0) {
      rows.emplace_back("of it waits for copies", extra(solution.waited_ns, plain_ns));
      rows.emplace_back("in the tier at most", Bytes(outcome.offloaded_peak).text());
    }
    for (const planner::Start& start : solution.starts) {
      rows.emplace_back("start " + start.name,
                        start.rerun_ns ? extra(*start.rerun_ns, plain_ns) : "found no plan");
    }
    rows.emplace_back("the plan's start", solution.winner);
    if (on_error) {
      say(table(rows));
    } else {
      output_.line(table(rows));
    }
  }

  void tell(const planner::Frontier& frontier,
            const std::optional<planner::Frontier>& reruns_alone) {
    if (!options_.json) {
      tell(frontier);
      if (!reruns_alone) return;
      output_.line("without copies:");
      tell(*reruns_alone);
      return;
    }
    output_.json(Json{{"label", trace_.label},
                      {"plain_base_bytes", frontier.head.count()},
                      {"plain_peak_bytes", frontier.plain.count()},
                      {"plain_ns", frontier.plain_ns},
                      {"floor_bytes", frontier.floor.count()},
                      {"floor_operator", frontier.floor_operator},
                      {"points", points_of(frontier)},
                      {"points_without_copies", reruns_alone ? points_of(*reruns_alone) : Json()}});
  }

  void tell(const planner::Frontier& frontier) {
    output_.text(table_of(frontier, /*for_people=*/true).text());
    output_.line("no plan stays below " + frontier.floor.text() + ": " +
                 name_of(frontier.floor_operator) + " needs that");
  }

  static Json points_of(const planner::Frontier& frontier) {
    Json points = Json::array();
    for (const planner::FrontierPoint& point : frontier.points) {
      points.push_back({{"budget_bytes", point.budget.count()},
                        {"share", share(frontier, point)},
                        {"extra_ns", number(point.rerun_ns)},
                        {"bound_ns", number(point.bound_ns)}});
    }
    return points;
  }

  [[nodiscard]] std::string name_of(std::int64_t op) const {
    std::int64_t number = 0;
    for (const graph::Event& event : trace_.events) {
      const auto* const one = std::get_if<graph::Operator>(&event);
      if (one == nullptr || number++ != op) continue;
      return "operator " + std::to_string(op) + ", " + one->name + ",";
    }
    return op < 0 ? "what is there before the first operator" : "what is held at the end";
  }

  static Json number(const std::optional<std::int64_t>& ns) { return ns ? Json(*ns) : Json(); }

  static double share(const planner::Frontier& frontier, const planner::FrontierPoint& point) {
    const std::int64_t needed = (frontier.plain - frontier.head).count();
    if (needed <= 0) return 1;
    return static_cast<double>((point.budget - frontier.head).count()) /
           static_cast<double>(needed);
  }

  static report::Table table_of(const planner::Frontier& frontier, bool for_people) {
    report::Table table(for_people ? std::vector<report::Column>{{"budget"},
                                                                 {"share"},
                                                                 {"extra time"},
                                                                 {"extra"},
                                                                 {"no plan takes less"}}
                                   : std::vector<report::Column>{{"budget_bytes"},
                                                                 {"share_percent"},
                                                                 {"extra_ns"},
                                                                 {"extra_percent"},
                                                                 {"bound_ns"}});
    for (const planner::FrontierPoint& point : frontier.points) {
      const double share_percent = 100 * share(frontier, point);
      if (for_people) {
        table.add_row({point.budget.text(), format_number("%.1f %%", share_percent),
                       point.rerun_ns ? milliseconds(*point.rerun_ns) : "no plan found",
                       point.rerun_ns ? percent(*point.rerun_ns, frontier.plain_ns) : "",
                       point.bound_ns ? milliseconds(*point.bound_ns) : "there is none"});
      } else {
        table.add_row(
            {std::to_string(point.budget.count()), format_number("%.3f", share_percent),
             point.rerun_ns ? std::to_string(*point.rerun_ns) : "",
             point.rerun_ns ? format_number("%.3f", of_plain(frontier, *point.rerun_ns)) : "",
             point.bound_ns ? std::to_string(*point.bound_ns) : ""});
      }
    }
    return table;
  }

  static double of_plain(const planner::Frontier& frontier, std::int64_t ns) {
    if (frontier.plain_ns == 0) return 0;
    return 100 * static_cast<double>(ns) / static_cast<double>(frontier.plain_ns);
  }

  // Both frontiers in one picture, when there are two.
  report::Plot plot_of(const planner::Frontier& frontier,
                       const std::optional<planner::Frontier>& reruns_alone) const {
    constexpr double kMiB = 1 << 20;
    report::Plot plot;
    plot.title = "Time against memory: " + trace_.label;
    plot.x.label = "budget, MiB";
    plot.y.label = "extra time, % of the plain step";
    report::Series plans{"plan", {}}, bound{"no plan below this", {}};
    double highest = 0;
    for (const planner::FrontierPoint& point : frontier.points) {
      const double x = static_cast<double>(point.budget.count()) / kMiB;
      if (point.rerun_ns) plans.points.push_back({x, of_plain(frontier, *point.rerun_ns)});
      if (point.rerun_ns) highest = std::max(highest, plans.points.back().y);
      if (!point.bound_ns) continue;
      bound.points.push_back({x, of_plain(frontier, *point.bound_ns)});
      highest = std::max(highest, bound.points.back().y);
    }
    const double floor = static_cast<double>(frontier.floor.count()) / kMiB;
    report::Series alone{"without copies", {}};
    if (reruns_alone) {
      plans.name = "with copies";
      for (const planner::FrontierPoint& point : reruns_alone->points) {
        if (!point.rerun_ns) continue;
        alone.points.push_back({static_cast<double>(point.budget.count()) / kMiB,
                                of_plain(frontier, *point.rerun_ns)});
        highest = std::max(highest, alone.points.back().y);
      }
    }
    plot.series = {plans, bound, {"no plan left of this", {{floor, 0}, {floor, highest}}}};
    if (reruns_alone) plot.series.push_back(alone);
    return plot;
  }

  const PlanOptions& options_;
  Output& output_;
  planner::Options search_;
  graph::Trace trace_;
};

}  // namespace

int plan(const PlanOptions& options, Output& output) { return Planning(options, output).run(); }

}  // namespace neap::app
