// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Plots in a terminal: what is drawn, cell by cell, and that it fits any width.
#include "report/characters.h"

#include <neap/terminal.h>

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace {

using namespace neap::report;

AreaPlot stairs() {
  AreaPlot plot;
  plot.steps = {{0, 2}, {4, 8}, {5, 4}, {8, 0}};
  plot.rows = 4;
  return plot;
}

std::vector<std::string> lines(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(AreaPlot, draws_each_column_as_high_as_the_most_in_it) {
  // 3 columns for the labels, 16 for the area, one left free.
  EXPECT_EQ(text(stairs(), {.columns = 20, .utf8 = false}),
            "8 +        ##\n"
            "  |        ##\n"
            "  |        ########\n"
            "2 +################\n"
            "0 +--------^-------\n"
            "   0              8\n"
            "^ peak 8 at 4\n");
}

TEST(AreaPlot, draws_eighths_of_a_cell_in_utf8) {
  AreaPlot plot = stairs();
  plot.steps[0].y = 1;
  EXPECT_EQ(text(plot, {.columns = 20}),
            "8 ┤        ██\n"
            "  │        ██\n"
            "  │        ████████\n"
            "2 ┤▄▄▄▄▄▄▄▄████████\n"
            "0 └────────▲───────\n"
            "   0              8\n"
            "▲ peak 8 at 4\n");
}

TEST(AreaPlot, draws_a_line_where_nothing_hides_it_and_marks_on_the_axis) {
  AreaPlot plot = stairs();
  plot.line = 5;
  plot.line_name = "budget";
  plot.marks = {{6, 7}};
  plot.marks_name = "runs again";
  EXPECT_EQ(text(plot, {.columns = 20, .utf8 = false}),
            "8 +        ##\n"
            "  |--------##------\n"
            "  |        ########\n"
            "2 +################\n"
            "0 +--------^---===-\n"
            "   0              8\n"
            "^ peak 8 at 4\n"
            "- budget 5\n"
            "= runs again\n");
}

TEST(AreaPlot, has_the_scale_that_it_is_given) {
  AreaPlot plot = stairs();
  plot.highest = 16;
  plot.longest = 16;
  EXPECT_EQ(text(plot, {.columns = 21, .utf8 = false}),
            "16 +\n"
            "   |\n"
            "   |    #\n"
            " 4 +########\n"
            " 0 +----^-----------\n"
            "    0             16\n"
            "^ peak 8 at 4\n");
}

TEST(AreaPlot, loses_no_peak_however_short_it_is) {
  AreaPlot plot;
  for (int i = 0; i < 10000; ++i) plot.steps.push_back({static_cast<double>(i), 1});
  plot.steps[3333].y = 8;
  plot.rows = 8;
  const auto drawn = lines(text(plot, {.columns = 40, .utf8 = false}));
  EXPECT_EQ(drawn[0].find_first_of('#'), drawn[8].find('^'));
  EXPECT_EQ(drawn[9].substr(0, 5), "   0 ");
}

TEST(AreaPlot, of_one_point_and_of_nothing) {
  AreaPlot plot;
  plot.steps = {{0, 0}};
  plot.rows = 1;
  EXPECT_EQ(text(plot, {.columns = 15, .utf8 = false}),
            "1 +\n0 +^----------\n   0         1\n^ peak 0 at 0\n");
  plot.steps.clear();
  EXPECT_THROW((void)text(plot, {}), neap::InvalidArgument);
  plot.steps = {{1, 1}, {0, 1}};
  EXPECT_THROW((void)text(plot, {}), neap::InvalidArgument);
  plot.steps = {{0, std::numeric_limits<double>::quiet_NaN()}};
  EXPECT_THROW((void)text(plot, {}), neap::InvalidArgument);
  plot.steps = {{0, -1}};
  EXPECT_THROW((void)text(plot, {}), neap::InvalidArgument);
  plot.steps = {{0, 1}};
  plot.line = -1;
  EXPECT_THROW((void)text(plot, {}), neap::InvalidArgument);
  plot.line.reset();
  plot.marks = {{0, std::numeric_limits<double>::infinity()}};
  EXPECT_THROW((void)text(plot, {}), neap::InvalidArgument);
}

TEST(AreaPlot, fits_every_width) {
  std::mt19937 random(1);
  for (std::size_t columns = 0; columns < 130; ++columns) {
    AreaPlot plot;
    double x = 0;
    for (int i = 0; i < 50; ++i) {
      plot.steps.push_back({x, static_cast<double>(random() % 1000)});
      x += static_cast<double>(random() % 100);
    }
    plot.line = 700;
    plot.line_name = "a limit with a name";
    plot.marks = {{0, x}, {x, 2 * x}};
    plot.marks_name = "marks";
    for (const bool utf8 : {false, true}) {
      for (const std::string& line : lines(text(plot, {.columns = columns, .utf8 = utf8}))) {
        EXPECT_LT(width_of(line), std::max<std::size_t>(columns, 2)) << columns << ": " << line;
        if (utf8) continue;
        for (const char one : line) EXPECT_TRUE(one >= ' ' && one < 0x7F) << line;
      }
    }
  }
}

TEST(Fit, cuts_wide_lines_and_no_others) {
  EXPECT_EQ(fit("123456789\n12345678\n\nää\n", {.columns = 9}), "1234567…\n12345678\n\nää\n");
  EXPECT_EQ(fit("123456789", {.columns = 9, .utf8 = false}), "1234567~");
  EXPECT_EQ(fit("äöüäöü", {.columns = 5}), "äöü…");
  EXPECT_EQ(fit("äöüä", {.columns = 5}), "äöüä");
  EXPECT_EQ(fit("abc", {.columns = 0}), "…");
  EXPECT_EQ(fit("", {.columns = 5}), "");
}

}  // namespace
