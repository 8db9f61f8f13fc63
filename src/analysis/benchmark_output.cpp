// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/output.h"

#include <neap/analysis.h>

#include <algorithm>

namespace neap::analysis {
namespace {

bool one_shape(const std::vector<BenchmarkRow>& rows) {
  return std::ranges::all_of(
      rows, [&](const BenchmarkRow& row) { return row.input_shape == rows.front().input_shape; });
}

}  // namespace

report::Table BenchmarkResult::table() const {
  report::Table table({{"input", report::Align::Left},
                       {"batch"},
                       {"variant", report::Align::Left},
                       {"ms (quartiles)"},
                       {"against plain"},
                       {"items/s"},
                       {"base"},
                       {"peak"},
                       {"reserved"},
                       {"replays"},
                       {"bits", report::Align::Left}});
  for (const BenchmarkRow& row : rows) {
    std::vector<std::string> cells{shape_text(row.input_shape), std::to_string(row.batch_size),
                                   row.variant};
    if (row.step.fits()) {
      const Measurement& step = row.step;
      for (std::string cell :
           {quartiles_text(step.milliseconds, 1), quartiles_text(row.ratio, 2),
            report::fixed(step.items_per_second, 1), step.base.text(), step.peak_live.text(),
            step.peak_reserved.text(), std::to_string(step.replays)}) {
        cells.push_back(std::move(cell));
      }
      cells.push_back(row.equal_bits ? "equal" : "differ: " + row.difference);
    } else {
      cells.resize(10);
      cells.push_back("does not fit: " + row.step.refusal);
    }
    table.add_row(std::move(cells));
  }
  return table;
}

std::string BenchmarkResult::csv() const {
  std::vector<report::Column> columns{{"input_shape"},  {"batch_size"}, {"variant"},
                                      {"budget_bytes"}, {"equal_bits"}, {"difference"}};
  add_quartiles_columns(columns, "against_plain");
  add_measurement_columns(columns);
  report::Table table(std::move(columns));
  for (const BenchmarkRow& row : rows) {
    std::vector<std::string> cells{shape_text(row.input_shape),
                                   std::to_string(row.batch_size),
                                   row.variant,
                                   row.budget ? std::to_string(row.budget->count()) : "",
                                   row.equal_bits ? "true" : "false",
                                   row.difference};
    add_quartiles_cells(cells, row.ratio);
    add_measurement_cells(cells, row.step);
    table.add_row(std::move(cells));
  }
  return table.csv();
}

std::string BenchmarkResult::to_json() const {
  Json json{{"rows", Json::array()}};
  for (const BenchmarkRow& row : rows) {
    Json one{{"input_shape", row.input_shape},
             {"batch_size", row.batch_size},
             {"variant", row.variant},
             {"budget_bytes", row.budget ? Json(row.budget->count()) : Json(nullptr)},
             {"equal_bits", row.equal_bits},
             {"difference", text_or_null(row.difference)},
             {"against_plain", json_of(row.ratio)}};
    add_measurement(one, row.step);
    json["rows"].push_back(std::move(one));
  }
  return dump(json);
}

std::string BenchmarkResult::svg(Quantity quantity) const {
  std::vector<BatchPoint> points;
  for (const BenchmarkRow& row : rows) {
    const std::string name =
        one_shape(rows) ? row.variant : row.variant + ", " + shape_text(row.input_shape);
    points.push_back({name, row.batch_size, row.step});
  }
  return plot_by_batch(
      quantity, quantity == Quantity::Peak ? "Peak of a training step" : "Throughput of training",
      points);
}

}  // namespace neap::analysis
