// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/report.h: tables for terminals, Markdown and spreadsheets, and plots as SVG. Does not depend
// on LibTorch.
//
//   neap::report::Table table({{"model", neap::report::Align::Left}, {"batch"}, {"ms"}});
//   table.add_row({"resnet", "32", "12.5"});
//   std::cout << table.text();  // table.markdown(), table.csv()
//
//   neap::report::Plot plot;
//   plot.title = "Time of a step";
//   plot.x.label = "batch";
//   plot.y.label = "ms";
//   plot.series.push_back({"plain", {{16, 6.4}, {32, 12.5}}});
//   std::ofstream("time.svg") << neap::report::svg(plot);
//
// Guarantees: equal input gives equal bytes. Text is only escaped where the format needs it; see
// the formats for line breaks and control characters.
// Threads: every type here is a value; there is no shared state.
#pragma once

#include <neap/base.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace neap::report {

enum class Align { Left, Right };

struct Column {
  std::string name;
  Align align = Align::Right;
};

// A table whose cells are text.
class NEAP_EXPORT Table {
 public:
  // Throws: InvalidArgument when there is no column.
  explicit Table(std::vector<Column> columns);
  // Throws: InvalidArgument when there are more or fewer cells than columns.
  void add_row(std::vector<std::string> cells);

  [[nodiscard]] std::size_t rows() const { return rows_.size(); }

  // For a terminal: columns as wide as their widest cell, two blanks apart, with a line of dashes
  // below the names. A UTF-8 character counts as one column. Line breaks and tabs in a cell become
  // blanks.
  [[nodiscard]] std::string text() const;
  // A table in GitHub's Markdown. A bar in a cell is escaped; line breaks and tabs become blanks.
  [[nodiscard]] std::string markdown() const;
  // RFC 4180: names first, lines end with CR LF, a cell with a comma, a quote or a line break is
  // quoted.
  [[nodiscard]] std::string csv() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

struct Point {
  double x = 0;
  double y = 0;
};

// Points with one name and colour, drawn in order.
struct Series {
  std::string name;
  std::vector<Point> points;
  bool line = true;  // false: points only
};

struct Axis {
  std::string label = {};
  bool logarithmic = false;
};

struct Plot {
  std::string title = {};
  Axis x = {};
  Axis y = {};
  std::vector<Series> series = {};
};

// A whole SVG file of 720 x 440: axes with round numbers, a grid, and a legend for more than one
// series. A plot without points has axes and the text "no points".
// Throws: InvalidArgument, with the series, for a coordinate that is not finite, or not above 0 on
// a logarithmic axis.
NEAP_EXPORT std::string svg(const Plot& plot);

// A number with this many decimals: `12.50`.
NEAP_EXPORT std::string fixed(double value, int decimals);

}  // namespace neap::report
