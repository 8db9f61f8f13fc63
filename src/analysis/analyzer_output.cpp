// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/output.h"

#include <neap/analysis.h>

namespace neap::analysis {

report::Table PerformanceResult::table() const {
  report::Table table({{"batch"},
                       {"forward ms"},
                       {"backward ms"},
                       {"total ms"},
                       {"optimizer ms"},
                       {"step ms (quartiles)"},
                       {"items/s"},
                       {"peak"},
                       {"reserved"},
                       {"recompute"},
                       {"note", report::Align::Left}});
  for (const PerformanceRow& row : rows) {
    std::vector<std::string> cells{std::to_string(row.batch_size)};
    if (row.step.fits()) {
      for (const Quartiles& part :
           {row.forward_time, row.backward_time, row.total_time, row.optimizer_time}) {
        cells.push_back(report::fixed(part.median, 1));
      }
      cells.push_back(quartiles_text(row.step.milliseconds, 1));
      cells.push_back(report::fixed(row.step.items_per_second, 1));
      cells.push_back(row.step.peak_live.text());
      cells.push_back(row.step.peak_reserved.text());
      cells.push_back(percent_text(row.step.recompute_share));
      cells.push_back(row.batch_size == best_batch ? "best" : "");
    } else {
      cells.resize(10);
      cells.push_back("does not fit: " + row.step.refusal);
    }
    table.add_row(std::move(cells));
  }
  return table;
}

std::string PerformanceResult::text() const {
  return table().text() + "best batch: " + (best_batch ? std::to_string(*best_batch) : "none") +
         "\nlimit: " + limit + '\n';
}

std::string PerformanceResult::csv() const {
  std::vector<report::Column> columns{{"batch_size"}};
  for (const char* part : {"forward", "backward", "total", "optimizer"}) {
    add_quartiles_columns(columns, part + std::string("_ms"));
  }
  add_measurement_columns(columns);
  report::Table table(std::move(columns));
  for (const PerformanceRow& row : rows) {
    std::vector<std::string> cells{std::to_string(row.batch_size)};
    for (const Quartiles& part :
         {row.forward_time, row.backward_time, row.total_time, row.optimizer_time}) {
      add_quartiles_cells(cells, part);
    }
    add_measurement_cells(cells, row.step);
    table.add_row(std::move(cells));
  }
  return table.csv();
}

std::string PerformanceResult::to_json() const {
  Json json{{"input_shape", input_shape},
            {"budget_bytes", budget ? Json(budget->count()) : Json(nullptr)},
            {"best_batch", best_batch ? Json(*best_batch) : Json(nullptr)},
            {"limit", limit},
            {"rows", Json::array()}};
  for (const PerformanceRow& row : rows) {
    Json one{{"batch_size", row.batch_size},
             {"forward_ms", json_of(row.forward_time)},
             {"backward_ms", json_of(row.backward_time)},
             {"total_ms", json_of(row.total_time)},
             {"optimizer_ms", json_of(row.optimizer_time)}};
    add_measurement(one, row.step);
    json["rows"].push_back(std::move(one));
  }
  return dump(json);
}

std::string PerformanceResult::svg(Quantity quantity) const {
  std::vector<BatchPoint> points;
  for (const PerformanceRow& row : rows) points.push_back({"", row.batch_size, row.step});
  return plot_by_batch(
      quantity, quantity == Quantity::Peak ? "Peak by batch size" : "Throughput by batch size",
      points);
}

}  // namespace neap::analysis
