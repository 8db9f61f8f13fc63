// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "page/trace_sections.h"

#include "holders.h"

#include <neap/timeline.h>

#include <algorithm>
#include <array>
#include <map>

namespace neap::app {
namespace {

// Longer lists would make the page slow and are not read.
constexpr std::size_t kMostHolders = 200;
constexpr std::size_t kMostBars = 20;
constexpr std::size_t kMostMarks = 5000;

Json axis(const char* name, const char* unit) { return {{"name", name}, {"unit", unit}}; }

// Where operators run again: [from, to] in ns, neighbours as one.
Json marks_of(const graph::Timeline& line) {
  std::vector<std::pair<std::int64_t, std::int64_t>> marks;
  for (std::size_t i = 0; i + 1 < line.moments.size(); ++i) {
    if (!line.moments[i].rerun) continue;
    const std::int64_t from = line.moments[i].ns, to = line.moments[i + 1].ns;
    if (!marks.empty() && marks.back().second == from) {
      marks.back().second = to;
    } else if (marks.size() < kMostMarks) {
      marks.emplace_back(from, to);
    }
  }
  return marks;
}

bool knows_cached(const graph::Timeline& line) {
  return std::ranges::all_of(line.moments,
                             [](const graph::Moment& moment) { return moment.cached.has_value(); });
}

Json memory_over_time(const graph::Timeline& line) {
  Json ns = Json::array();
  std::array<Json, graph::kCategories> bytes;
  bytes.fill(Json::array());
  for (const graph::Moment& moment : line.moments) {
    ns.push_back(moment.ns);
    for (std::size_t i = 0; i < graph::kCategories; ++i) bytes.at(i).push_back(moment.bytes.at(i));
  }
  Json all = Json::array();
  for (std::size_t i = 0; i < graph::kCategories; ++i) {
    all.push_back(series(graph::name_of(static_cast<graph::Category>(i)), std::move(bytes.at(i))));
  }
  if (knows_cached(line)) {
    Json cached = Json::array();
    for (const graph::Moment& moment : line.moments) cached.push_back(*moment.cached);
    Json one = series("cached", std::move(cached));
    one["beside"] = true;  // no part of the sum
    all.push_back(std::move(one));
  }
  return {{"unit", "bytes"},
          {"x", {{"name", "time of the operators so far"}, {"unit", "ns"}, {"values", ns}}},
          {"series", all}};
}

void add_holders(Page& page, const graph::Timeline& line, const std::string& when) {
  const LargestHolders largest = largest_holders(line, kMostHolders);
  Json rows = Json::array();
  for (const graph::Holder& holder : largest.shown) {
    rows.push_back(
        {holder.bytes, graph::name_of(holder.category), holder.layer, holder.maker, holder.why});
  }
  Json columns = Json::array();
  for (const char* const name : kHolderColumns) {
    columns.push_back(columns.empty() ? column(name, "bytes") : column(name));
  }
  page.add_section("table", "What is there at the peak " + when, largest.note(),
                   {{"columns", columns}, {"rows", rows}});
}

void add_peak_by_layer(Page& page, const graph::Timeline& line, const std::string& when) {
  using Sums = std::array<std::int64_t, graph::kCategories>;
  std::map<std::string, Sums> by_layer;
  for (const graph::Holder& holder : line.at_the_peak) {
    by_layer[holder.layer.empty() ? "(no layer)" : holder.layer].at(
        static_cast<std::size_t>(holder.category)) += holder.bytes;
  }
  const auto total = [](const Sums& sums) {
    std::int64_t sum = 0;
    for (const std::int64_t bytes : sums) sum += bytes;
    return sum;
  };
  std::vector<std::pair<std::string, Sums>> layers(by_layer.begin(), by_layer.end());
  std::ranges::stable_sort(layers, std::ranges::greater{},
                           [&](const auto& layer) { return total(layer.second); });
  if (layers.size() > kMostBars) layers.resize(kMostBars);
  Json names = Json::array(), all = Json::array();
  for (const auto& [name, sums] : layers) names.push_back(name);
  for (std::size_t i = 0; i < graph::kCategories; ++i) {
    Json values = Json::array();
    for (const auto& [name, sums] : layers) values.push_back(sums.at(i));
    Json one = series(graph::name_of(static_cast<graph::Category>(i)), std::move(values));
    one["colour"] = i;
    all.push_back(std::move(one));
  }
  page.add_section("bars", "The peak " + when + " by layer", "The layers that hold most.",
                   {{"unit", "bytes"}, {"names", names}, {"series", all}});
}

void add_layers(Page& page, const graph::Trace& trace) {
  Json rows = Json::array();
  for (const graph::LayerUse& layer : graph::layers_of(trace)) {
    rows.push_back({layer.name, layer.parameters, layer.activations, layer.freed_by_checkpoint,
                    layer.forward_ns, layer.backward_ns});
  }
  if (rows.empty()) return;
  page.add_section("table", "Layers",
                   "With checkpoint() around it, a module frees what the fourth column says, and "
                   "its forward runs a second time.",
                   {{"columns",
                     {column("module"), column("parameters", "bytes"),
                      column("activations", "bytes"), column("freed by checkpoint()", "bytes"),
                      column("forward", "ns"), column("backward", "ns")}},
                    {"rows", rows}});
}

// What each budget costs, and beside it what other ways take.
void add_time_against_memory(Page& page, const TracedStep& step, const graph::Timeline& plain) {
  const std::int64_t plain_ns = std::max<std::int64_t>(1, plain.moments.back().ns);
  const auto point = [&](std::int64_t bytes, std::int64_t extra_ns) {
    const double percent = 100 * static_cast<double>(extra_ns) / static_cast<double>(plain_ns);
    return Json::array({bytes, percent, plain_ns + extra_ns});
  };
  Json all = Json::array();
  std::string text;
  if (step.frontier) {
    Json plans = Json::array(), bound = Json::array();
    for (const planner::FrontierPoint& one : step.frontier->points) {
      if (one.rerun_ns) plans.push_back(point(one.budget.count(), *one.rerun_ns));
      if (one.bound_ns) bound.push_back(point(one.budget.count(), *one.bound_ns));
    }
    all.push_back({{"name", "plans"}, {"line", true}, {"points", plans}});
    all.push_back({{"name", "no plan is below this"}, {"line", true}, {"points", bound}});
    text = "What each budget costs. No plan stays below " + step.frontier->floor.text() + ".";
  }
  if (step.solution) {
    all.push_back(
        {{"name", "the chosen budget"},
         {"line", false},
         {"points", Json::array({point(step.solution->plan.budget, step.solution->rerun_ns)})}});
  }
  const std::int64_t head = plain.moments.front().total();
  const auto room = static_cast<double>(plain.moments[plain.peak].total() - head);
  const auto first = static_cast<std::ptrdiff_t>(all.size());
  for (const OtherWay& way : step.ways) {
    const Json here =
        Json::array({static_cast<double>(head) + way.share * room, 100 * (way.time - 1), way.ns});
    const auto same = std::find_if(all.begin() + first, all.end(),
                                   [&](const Json& series) { return series["name"] == way.name; });
    if (same == all.end()) {
      all.push_back({{"name", way.name}, {"line", false}, {"points", Json::array({here})}});
    } else {
      (*same)["points"].push_back(here);
      (*same)["line"] = true;
    }
  }
  if (!step.ways.empty()) {
    text += text.empty() ? "" : " ";
    text +=
        "Other ways were measured: their bytes are by their share of what the plain step needs, "
        "their times against its time.";
  }
  page.add_section(
      "points", "Time against memory", text,
      {{"x", axis("budget", "bytes")}, {"y", axis("extra time", "percent")}, {"series", all}});
}

}  // namespace

void add_trace_sections(Page& page, const TracedStep& step) {
  const graph::Trace& trace = step.trace;
  const graph::Timeline plain = graph::timeline(trace, graph::plain_plan(trace));
  const std::int64_t plain_peak = plain.moments[plain.peak].total();
  page.add_fact({"step", trace.label});
  page.add_fact({"plain peak", plain_peak, "bytes"});
  page.add_fact({"of it before the step", plain.moments.front().total(), "bytes"});
  page.add_fact({"plain time", plain.moments.back().ns, "ns"});
  if (step.solution) {
    const graph::Plan& plan = step.solution->plan;
    page.add_fact({"budget", plan.budget, "bytes"});
    page.add_fact({"peak by the plan", plan.predicted_peak, "bytes"});
    page.add_fact({"extra time by the plan", step.solution->rerun_ns, "ns"});
    page.add_fact(
        {"operators that run again", static_cast<std::int64_t>(planner::reruns_of(plan).size())});
  }
  if (!trace.torch.empty()) page.add_fact({"LibTorch", trace.torch});

  const auto add_memory = [&](const graph::Timeline& line, const std::string& title,
                              const std::string& text) {
    Json content = memory_over_time(line);
    if (step.solution) {
      content["line"] = {{"name", "budget"}, {"value", step.solution->plan.budget}};
    }
    content["marks"] = marks_of(line);
    page.add_section("area", title, text, content);
  };
  add_memory(plain, "Memory of the plain step",
             std::string("What is there while each operator runs") +
                 (knows_cached(plain) ? ", and above it what the allocator keeps for reuse" : "") +
                 ". Drag to zoom.");
  if (step.solution) {
    const graph::Timeline planned = graph::timeline(trace, step.solution->plan);
    add_memory(planned, "Memory of the step inside the budget",
               "Where it is red, operators run again for what was freed.");
    add_peak_by_layer(page, planned, "inside the budget");
    add_holders(page, planned, "inside the budget");
  }
  add_peak_by_layer(page, plain, "of the plain step");
  add_holders(page, plain, "of the plain step");
  add_layers(page, trace);
  if (step.frontier || !step.ways.empty()) add_time_against_memory(page, step, plain);
}

}  // namespace neap::app
