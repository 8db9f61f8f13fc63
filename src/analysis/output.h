// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/output.h: what the tables, CSV and JSON of measurements have in common.
#pragma once

#include <neap/analysis.h>
#include <neap/report.h>

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace neap::analysis {

// Keeps the order of the keys.
using Json = nlohmann::ordered_json;

// "12.5 (12.1-13.0)": the median, and the quartiles around it.
std::string quartiles_text(const Quartiles& quartiles, int decimals);
// "12.5 %"
std::string percent_text(double share);
// "3x32x32"; "scalar" for none.
std::string shape_text(const std::vector<std::int64_t>& shape);

Json json_of(const Quartiles& quartiles);
// Null for an empty text.
Json text_or_null(const std::string& text);
// refusal (null when it fits), milliseconds, items_per_second, recompute_share, replays, base,
// peak_live, peak_reserved.
void add_measurement(Json& to, const Measurement& step);
// The text for a file; invalid UTF-8 is replaced.
std::string dump(const Json& json);

// CSV of a measurement: columns and cells in the order of add_measurement(), the refusal last.
void add_measurement_columns(std::vector<report::Column>& columns);
void add_measurement_cells(std::vector<std::string>& cells, const Measurement& step);
void add_quartiles_columns(std::vector<report::Column>& columns, const std::string& name);
void add_quartiles_cells(std::vector<std::string>& cells, const Quartiles& quartiles);

// A point of a plot by batch size.
struct BatchPoint {
  std::string series;
  std::int64_t batch_size;
  const Measurement& step;
};
// Points that do not fit are left out.
std::string plot_by_batch(Quantity quantity, const std::string& title,
                          const std::vector<BatchPoint>& points);

}  // namespace neap::analysis
