// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap/terminal.h: plots and lines of text that fit the width of a terminal. Does not depend on
// LibTorch.
//
//   neap::report::AreaPlot plot;
//   plot.steps = {{0, 100}, {2, 170}, {5, 110}};   // 100 from 0 on, 170 from 2 on, 110 at the end
//   plot.line = 150;
//   plot.line_name = "budget";
//   std::cout << neap::report::text(plot, {.columns = 80});
//
// Guarantees: equal input gives equal bytes; no line is as wide as `columns`, since some terminals
// begin a new line at their last column. Threads: every type here is a value; there is no shared
// state.
#pragma once

#include <neap/report.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace neap::report {

struct TerminalStyle {
  std::size_t columns = 80;
  bool utf8 = true;  // false: plain ASCII
};

// Cuts each line of the text that is too wide. What is cut ends with a mark, an ellipsis or `~`.
NEAP_EXPORT std::string fit(std::string_view text, const TerminalStyle& style);

// A quantity that stays as it is from one point to the next, drawn as an area.
struct AreaPlot {
  // x does not decrease. The last point is the end.
  std::vector<Point> steps = {};
  double highest = 0;  // of the y axis, at least; so that two plots can have one scale
  double longest = 0;  // of the x axis, at least
  std::size_t rows = 10;
  std::optional<double> line = {};  // a limit, across the plot
  std::string line_name = {};
  std::vector<std::pair<double, double>> marks = {};  // ranges of x, shown on the axis
  std::string marks_name = {};
  std::function<std::string(double)> x_text = {};  // empty: the number
  std::function<std::string(double)> y_text = {};
};

// Each column shows the most that there is in its part of x, so no peak is lost. Below the axis, a
// legend names the peak and where it is, the line and the marks.
// Throws: InvalidArgument for no points, no rows, an x that decreases, and a coordinate that is
// negative or not finite.
NEAP_EXPORT std::string text(const AreaPlot& plot, const TerminalStyle& style);

}  // namespace neap::report
