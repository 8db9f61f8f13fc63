// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "predictions.h"

#include "export/tables.h"
#include "output.h"

#include <neap/report.h>

#include <algorithm>
#include <cmath>

namespace neap::app {
namespace {

using Ordered = nlohmann::ordered_json;

Ordered or_null(double value) { return std::isfinite(value) ? Ordered(value) : Ordered(); }

// Null for kNoClass.
Ordered name_of(const Predictions& predictions, std::int64_t one) {
  if (one == kNoClass) return {};
  const auto i = static_cast<std::size_t>(one);
  return i < predictions.class_names.size() ? predictions.class_names[i] : std::to_string(one);
}

// A longer one would make the table of a terminal wider than it.
std::string shortened(std::string name) {
  constexpr std::size_t kMost = 40;  // bytes
  if (name.size() <= kMost) return name;
  std::size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;  // in a letter
  return name.substr(0, end) + "...";
}

// The table of all formats but JSON. `for_people`: with few digits.
DataTable table(const Predictions& predictions, std::size_t most, bool for_people) {
  const auto& rows = predictions.rows;
  const std::size_t classes = rows.empty() ? 0 : rows.front().top.size();
  const std::size_t outputs = rows.empty() ? 0 : rows.front().outputs.size();
  const bool has_files =
      std::ranges::any_of(rows, [](const Prediction& one) { return !one.file.empty(); });
  const bool has_labels =
      std::ranges::any_of(rows, [](const Prediction& one) { return one.label.has_value(); });
  const auto shown = [&](double value) {
    if (for_people) return Ordered(format_number("%.4g", value));
    return or_null(value);
  };
  const auto name = [&](std::int64_t one) {
    const Ordered whole = name_of(predictions, one);
    return for_people && !whole.is_null() ? Ordered(shortened(whole.get<std::string>())) : whole;
  };
  DataTable table{"predictions", {"sample"}, {}};
  if (has_files) table.columns.emplace_back("file");
  for (std::size_t i = 0; i < classes; ++i) {
    const std::string suffix = i == 0 ? "" : "_" + std::to_string(i + 1);
    table.columns.push_back("class" + suffix);
    table.columns.push_back("probability" + suffix);
  }
  for (std::size_t i = 0; i < outputs; ++i) {
    table.columns.push_back("output_" + std::to_string(i + 1));
  }
  if (has_labels) table.columns.emplace_back("true_class");
  for (const Prediction& one : rows) {
    if (table.rows.size() == most) break;
    std::vector<Ordered> cells{one.sample};
    if (has_files) cells.emplace_back(utf8(one.file));
    for (const auto& [label, probability] : one.top) {
      cells.push_back(name(label));
      cells.push_back(shown(probability));
    }
    for (const double value : one.outputs) cells.push_back(shown(value));
    if (has_labels) {
      cells.push_back(name(one.label.value_or(kNoClass)));
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

}  // namespace

std::string table_of(const Predictions& predictions, std::size_t most) {
  const DataTable data = table(predictions, most, /*for_people=*/true);
  std::vector<report::Column> columns;
  for (const std::string& name : data.columns) {
    columns.push_back({name, name == "file" ? report::Align::Left : report::Align::Right});
  }
  report::Table text(std::move(columns));
  for (const std::vector<Json>& row : data.rows) {
    std::vector<std::string> cells;
    for (const Json& value : row) {
      cells.push_back(value.is_null()     ? "-"
                      : value.is_string() ? value.get<std::string>()
                                          : value.dump());
    }
    text.add_row(std::move(cells));
  }
  return text.text();
}

std::string csv_of(const Predictions& predictions) {
  return csv_of(table(predictions, predictions.rows.size(), /*for_people=*/false));
}

nlohmann::ordered_json json_of(const Predictions& predictions) {
  Ordered list = Ordered::array();
  for (const Prediction& one : predictions.rows) {
    Ordered top = Ordered::array();
    for (const auto& [label, probability] : one.top) {
      top.push_back(
          {{"class", name_of(predictions, label)}, {"probability", or_null(probability)}});
    }
    Ordered outputs = Ordered::array();
    for (const double value : one.outputs) outputs.push_back(or_null(value));
    list.push_back({{"sample", one.sample},
                    {"file", one.file.empty() ? Ordered() : Ordered(one.file)},
                    {"class", one.top.empty() ? Ordered() : top.front().at("class")},
                    {"probability", one.top.empty() ? Ordered() : top.front().at("probability")},
                    {"top", one.top.empty() ? Ordered() : top},
                    {"outputs", one.outputs.empty() ? Ordered() : outputs},
                    {"true_class", name_of(predictions, one.label.value_or(kNoClass))}});
  }
  return {{"predictions", list}};
}

std::int64_t without_class(const Predictions& predictions) {
  return std::ranges::count_if(predictions.rows, [](const Prediction& one) {
    return !one.top.empty() && one.top.front().first == kNoClass;
  });
}

std::string summary_of(const Predictions& predictions) {
  std::int64_t known = 0, right = 0;
  for (const Prediction& one : predictions.rows) {
    if (!one.label || one.top.empty()) continue;
    ++known;
    if (one.top.front().first == *one.label) ++right;
  }
  std::string text = std::to_string(predictions.rows.size()) + " predictions";
  if (known > 0) {
    text += "; of " + std::to_string(known) + " whose class is known, " + std::to_string(right) +
            " are right";
  }
  return text;
}

}  // namespace neap::app
