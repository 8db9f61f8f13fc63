// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/output.h"

#include <algorithm>

namespace neap::analysis {
namespace {

constexpr int kDecimals = 6;  // of raw numbers: nanoseconds, for milliseconds

}  // namespace

std::string quartiles_text(const Quartiles& quartiles, int decimals) {
  return report::fixed(quartiles.median, decimals) + " (" +
         report::fixed(quartiles.lower, decimals) + "-" + report::fixed(quartiles.upper, decimals) +
         ")";
}

std::string percent_text(double share) { return report::fixed(share * 100, 1) + " %"; }

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t extent : shape) {
    if (!text.empty()) text += 'x';
    text += std::to_string(extent);
  }
  return text.empty() ? "scalar" : text;
}

Json json_of(const Quartiles& quartiles) {
  return {{"lower", quartiles.lower}, {"median", quartiles.median}, {"upper", quartiles.upper}};
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

void add_measurement(Json& to, const Measurement& step) {
  to["refusal"] = text_or_null(step.refusal);
  to["step_ms"] = json_of(step.milliseconds);
  to["items_per_second"] = step.items_per_second;
  to["recompute_share"] = step.recompute_share;
  to["replays"] = step.replays;
  to["base_bytes"] = step.base.count();
  to["peak_live_bytes"] = step.peak_live.count();
  to["peak_reserved_bytes"] = step.peak_reserved.count();
}

std::string dump(const Json& json) {
  // Names and messages may be any bytes, but JSON is UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

void add_quartiles_columns(std::vector<report::Column>& columns, const std::string& name) {
  for (const char* part : {"", "_lower", "_upper"}) columns.push_back({name + part});
}

void add_quartiles_cells(std::vector<std::string>& cells, const Quartiles& quartiles) {
  for (const double value : {quartiles.median, quartiles.lower, quartiles.upper}) {
    cells.push_back(report::fixed(value, kDecimals));
  }
}

void add_measurement_columns(std::vector<report::Column>& columns) {
  add_quartiles_columns(columns, "step_ms");
  for (const char* name : {"items_per_second", "recompute_share", "replays", "base_bytes",
                           "peak_live_bytes", "peak_reserved_bytes", "refusal"}) {
    columns.push_back({name});
  }
}

void add_measurement_cells(std::vector<std::string>& cells, const Measurement& step) {
  add_quartiles_cells(cells, step.milliseconds);
  cells.push_back(report::fixed(step.items_per_second, kDecimals));
  cells.push_back(report::fixed(step.recompute_share, kDecimals));
  for (const std::int64_t count :
       {step.replays, step.base.count(), step.peak_live.count(), step.peak_reserved.count()}) {
    cells.push_back(std::to_string(count));
  }
  cells.push_back(step.refusal);
}

std::string plot_by_batch(Quantity quantity, const std::string& title,
                          const std::vector<BatchPoint>& points) {
  constexpr double kMiB = 1 << 20;
  report::Plot plot;
  plot.title = title;
  plot.x = {"batch size", /*logarithmic=*/true};  // batch sizes are usually doubled
  plot.y.label = quantity == Quantity::Peak ? "peak, MiB" : "items a second";
  for (const BatchPoint& point : points) {
    if (!point.step.fits()) continue;
    auto series = std::ranges::find(plot.series, point.series, &report::Series::name);
    if (series == plot.series.end()) series = plot.series.insert(series, {point.series, {}});
    series->points.push_back({static_cast<double>(point.batch_size),
                              quantity == Quantity::Peak
                                  ? static_cast<double>(point.step.peak_live.count()) / kMiB
                                  : point.step.items_per_second});
  }
  for (report::Series& series : plot.series)
    std::ranges::sort(series.points, {}, &report::Point::x);
  return report::svg(plot);
}

}  // namespace neap::analysis
