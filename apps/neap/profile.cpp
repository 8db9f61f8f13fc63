// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap profile: draws the memory of a traced step in the terminal, and lists what holds its peak.
#include "commands.h"
#include "holders.h"
#include "terminal.h"
#include "trace.h"
#include "wanted_budget.h"

#include <neap/planner.h>

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>

namespace neap::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMostHolders = 20;
constexpr std::size_t kRows = 12;  // of a plot

std::string time_text(double ns) { return milliseconds(static_cast<std::int64_t>(ns)); }
std::string bytes_text(double bytes) { return Bytes(static_cast<std::int64_t>(bytes)).text(); }

class Profile {
 public:
  Profile(graph::Trace trace, const std::optional<WantedBudget>& budget)
      : trace_(std::move(trace)), plain_(graph::timeline(trace_, graph::plain_plan(trace_))) {
    if (!budget) return;
    planner::Options search{.budget = bytes_of(*budget, trace_)};
    search.followable = true;
    plan_ = planner::solve(trace_, search).plan;
    planned_ = graph::timeline(trace_, *plan_);
  }

  [[nodiscard]] Json json() const {
    return {{"label", trace_.label},
            {"plain_base_bytes", plain_.moments.front().total()},
            {"budget_bytes", plan_ ? Json(plan_->budget) : Json()},
            {"plain", json_of(plain_)},
            {"plan", plan_ ? json_of(planned_) : Json()}};
  }

  void tell(Output& output, const Terminal& terminal) const {
    output.text(report::fit(printable(trace_.label), terminal.style) + '\n');
    tell(output, terminal, plain_, "The plain step");
    if (plan_) {
      tell(output, terminal, planned_,
           "The step inside " + Bytes(plan_->budget).text() + ", by a plan");
    }
  }

 private:
  static Json json_of(const graph::Timeline& line) {
    Json moments = Json::array(), holders = Json::array();
    for (const graph::Moment& moment : line.moments) {
      moments.push_back({{"at_ns", moment.ns},
                         {"held_bytes", moment.total()},
                         {"cached_bytes", moment.cached ? Json(*moment.cached) : Json()},
                         {"runs_again", moment.rerun}});
    }
    for (const graph::Holder& holder : line.at_the_peak) {
      holders.push_back({{"held_bytes", holder.bytes},
                         {"category", graph::name_of(holder.category)},
                         {"layer", text_or_null(holder.layer)},
                         {"operator", text_or_null(holder.maker)},
                         {"why", holder.why}});
    }
    return {{"peak_bytes", line.moments[line.peak].total()},
            {"at_ns", line.moments[line.peak].ns},
            {"step_ns", line.moments.back().ns},
            {"replays", reruns_of(line)},
            {"moments", moments},
            {"holders", holders}};
  }

  static std::int64_t reruns_of(const graph::Timeline& line) {
    return std::ranges::count_if(line.moments, &graph::Moment::rerun);
  }

  // What the allocator keeps for reuse beside what is drawn. Empty: not known.
  static std::string cached_text(const graph::Timeline& line) {
    std::int64_t most = -1;
    for (const graph::Moment& moment : line.moments) {
      if (!moment.cached) return {};
      most = std::max(most, *moment.cached);
    }
    return "cached beside it: " + Bytes(*line.moments[line.peak].cached).text() +
           " at the peak, at most " + Bytes(most).text();
  }

  void tell(Output& output, const Terminal& terminal, const graph::Timeline& line,
            const std::string& what) const {
    std::string title = what + ": " + milliseconds(line.moments.back().ns);
    if (const std::int64_t reruns = reruns_of(line); reruns > 0) {
      title += ", " + std::to_string(reruns) + " operators run again";
    }
    output.text('\n' + report::fit(title, terminal.style) + '\n' +
                report::text(plot_of(line), terminal.style));
    if (const std::string cached = cached_text(line); !cached.empty()) {
      output.text(report::fit(cached, terminal.style) + '\n');
    }
    const LargestHolders largest = largest_holders(line, kMostHolders);
    Rows rows;
    for (const graph::Holder& holder : largest.shown) {
      rows.push_back({Bytes(holder.bytes).text(), graph::name_of(holder.category), holder.layer,
                      holder.maker, holder.why});
    }
    std::vector<report::Column> columns;
    for (const char* const name : kHolderColumns) {
      columns.push_back({name, columns.empty() ? report::Align::Right : report::Align::Left});
    }
    output.text('\n' + table_with_reasons(columns, rows, terminal));
    if (!largest.note().empty()) {
      output.text(
          (terminal.is_bounded ? report::fit(largest.note(), terminal.style) : largest.note()) +
          '\n');
    }
  }

  // Both steps have one scale.
  [[nodiscard]] report::AreaPlot plot_of(const graph::Timeline& line) const {
    report::AreaPlot plot;
    plot.rows = kRows;
    plot.x_text = time_text;
    plot.y_text = bytes_text;
    for (const graph::Moment& moment : line.moments) {
      plot.steps.push_back({static_cast<double>(moment.ns), static_cast<double>(moment.total())});
    }
    plot.highest = static_cast<double>(plain_.moments[plain_.peak].total());
    plot.longest = static_cast<double>(plain_.moments.back().ns);
    if (!plan_) return plot;
    plot.longest = std::max(plot.longest, static_cast<double>(planned_.moments.back().ns));
    plot.line = static_cast<double>(plan_->budget);
    plot.line_name = "budget";
    plot.marks_name = "operators run again";
    for (std::size_t i = 0; i + 1 < line.moments.size(); ++i) {
      if (!line.moments[i].rerun) continue;
      plot.marks.emplace_back(line.moments[i].ns, line.moments[i + 1].ns);
    }
    return plot;
  }

  graph::Trace trace_;
  graph::Timeline plain_;
  std::optional<graph::Plan> plan_;  // absent: the plain step alone
  graph::Timeline planned_;
};

}  // namespace

int profile(const ViewOptions& options, Output& output) {
  std::optional<WantedBudget> budget;
  if (!options.budget.empty()) budget = parse_wanted_budget(options.budget);
  const Profile profile(read_or_traced_step(options, options.file), budget);
  if (options.json) {
    output.json(profile.json());
  } else {
    profile.tell(output, terminal_of(STDOUT_FILENO));
  }
  return 0;
}

}  // namespace neap::app
