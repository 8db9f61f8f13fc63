// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A reader looks at a plot once and believes it. So the tests check three things: it is XML
// whatever names it gets, each point stands where its numbers say, and the numbers beside the axes
// are round and enclose the data.
#include "support/xml.h"

#include <neap/report.h>

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <random>
#include <regex>
#include <set>

namespace {

using namespace neap::report;

Plot two_series() {
  Plot plot;
  plot.title = "Time of a step";
  plot.x.label = "batch";
  plot.y.label = "ms";
  plot.series.push_back({"plain", {{0, 0}, {50, 40}, {100, 100}}});
  plot.series.push_back({"30 %", {{0, 10}, {100, 60}}});
  return plot;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++found;
  return found;
}

std::vector<std::string> all(const std::string& text, const char* expression) {
  const std::regex regex(expression);
  std::vector<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) {
    found.push_back((*it)[1]);
  }
  return found;
}

// The numbers beside the vertical axis and below the horizontal one.
std::vector<std::string> marks(const Plot& plot, const char* anchor) {
  return all(svg(plot),
             (std::string("text-anchor=\"") + anchor + "\">([-+.0-9e]+)</text>").c_str());
}
std::vector<std::string> y_marks(const std::vector<Point>& points, bool logarithmic = false) {
  Plot plot;
  plot.y.logarithmic = logarithmic;
  plot.series.push_back({"", points});
  return marks(plot, "end");
}

std::string message_of(const Plot& plot) {
  try {
    svg(plot);
  } catch (const neap::InvalidArgument& error) {
    return error.what();
  }
  return "nothing was thrown";
}

using Texts = std::vector<std::string>;

TEST(Plot, is_a_whole_svg_file) {
  const std::string text = svg(two_series());
  EXPECT_EQ(neap::test::xml_error(text), "");
  EXPECT_TRUE(text.starts_with(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_TRUE(text.ends_with("</svg>\n"));
  EXPECT_EQ(count(text, "<polyline "), 2);
  EXPECT_EQ(count(text, "<circle "), 5 + 2) << "five points, and two in the legend";
  for (const char* words : {">Time of a step<", ">batch<", ">ms<", ">plain<", ">30 %<"}) {
    EXPECT_NE(text.find(words), std::string::npos) << words;
  }
}

TEST(Plot, the_same_plot_gives_the_same_bytes) { EXPECT_EQ(svg(two_series()), svg(two_series())); }

TEST(Plot, puts_points_where_their_numbers_say) {
  Plot plot;
  plot.series.push_back({"one", {{0, 0}, {100, 100}, {50, 25}}});
  const std::string text = svg(plot);
  // The points go from 76 to 696 across and from 382 up to 46. There is no legend.
  EXPECT_EQ(all(text, "points=\"([^\"]*)\""), Texts{"76.00,382.00 696.00,46.00 386.00,298.00"});
}

TEST(Plot, puts_points_of_logarithmic_axes_by_their_logarithms) {
  Plot plot;
  plot.x.logarithmic = plot.y.logarithmic = true;
  plot.series.push_back({"one", {{1, 10}, {100, 1e6}, {10, 1e5}}});
  EXPECT_EQ(all(svg(plot), "points=\"([^\"]*)\""),
            Texts{"76.00,382.00 696.00,46.00 386.00,113.20"});
}

TEST(Plot, marks_are_round_numbers_around_the_data) {
  EXPECT_EQ(y_marks({{0, 0}, {1, 97}}), (Texts{"0", "20", "40", "60", "80", "100"}));
  EXPECT_EQ(y_marks({{0, 30}, {1, 97}}), (Texts{"0", "20", "40", "60", "80", "100"}))
      << "from 0, unless all lie far from it";
  EXPECT_EQ(y_marks({{0, 95}, {1, 97}}), (Texts{"95", "95.5", "96", "96.5", "97"}));
  EXPECT_EQ(y_marks({{0, -3}, {1, 4}}), (Texts{"-4", "-2", "0", "2", "4"}));
  EXPECT_EQ(y_marks({{0, 0.001}, {1, 0.004}}), (Texts{"0", "0.001", "0.002", "0.003", "0.004"}));
}

TEST(Plot, marks_of_logarithmic_axes_are_powers_of_ten_and_few) {
  EXPECT_EQ(y_marks({{0, 1}, {1, 1e4}}, true), (Texts{"1", "10", "100", "1000", "10000"}));
  EXPECT_EQ(y_marks({{0, 3}, {1, 40}}, true), (Texts{"2", "5", "10", "20", "50"}));
  EXPECT_LE(y_marks({{0, 1e-9}, {1, 1e30}}, true).size(), 9);
}

TEST(Plot, one_value_and_equal_values_have_an_axis_around_them) {
  for (const bool logarithmic : {false, true}) {
    for (const double value : {1.0, 3.0, 1e15, 1e-7}) {
      const Texts one = y_marks({{0, value}}, logarithmic);
      ASSERT_GE(one.size(), 2) << value;
      EXPECT_LE(std::stod(one.front()), value);
      EXPECT_GE(std::stod(one.back()), value);
    }
  }
  EXPECT_EQ(y_marks({{0, 0}}), (Texts{"-1", "-0.5", "0", "0.5", "1"}));
  // The points are so close that marks could not show the difference. There must be no endless row
  // of marks.
  EXPECT_LE(y_marks({{0, 1e15}, {1, 1e15 + 0.125}}).size(), 9);
}

TEST(Plot, without_points_says_so) {
  Plot plot;
  plot.title = "empty";
  plot.series.push_back({"nothing fitted", {}});
  const std::string text = svg(plot);
  EXPECT_EQ(neap::test::xml_error(text), "");
  EXPECT_NE(text.find(">no points<"), std::string::npos);
  EXPECT_EQ(svg(two_series()).find(">no points<"), std::string::npos);
}

TEST(Plot, one_series_has_no_legend_and_scatter_has_no_line) {
  Plot plot;
  plot.series.push_back({"alone", {{1, 1}, {2, 2}}, /*line=*/false});
  const std::string text = svg(plot);
  EXPECT_EQ(text.find("alone"), std::string::npos);
  EXPECT_EQ(count(text, "<polyline "), 0);
  EXPECT_EQ(count(text, "<circle "), 2);
}

TEST(Plot, many_series_differ_in_colour_or_dashes) {
  Plot plot;
  for (int i = 0; i < 20; ++i) plot.series.push_back({std::to_string(i), {{0, 0}, {1, 1.0 * i}}});
  const Texts strokes = all(svg(plot), "<polyline (.*) points");
  EXPECT_EQ(std::set<std::string>(strokes.begin(), strokes.end()).size(), 20);
}

TEST(Plot, any_text_stays_xml) {
  Plot plot = two_series();
  plot.title = "a < b & \"c\" > 'd'\n\x01 \xFF \xC3\xA9 \xED\xA0\x80 \xEF\xBF\xBF";
  plot.series[0].name = "</text><script>";
  const std::string text = svg(plot);
  EXPECT_EQ(neap::test::xml_error(text), "");
  EXPECT_NE(text.find("a &lt; b &amp; &quot;c&quot; &gt; 'd' \xEF\xBF\xBD \xEF\xBF\xBD \xC3\xA9 "),
            std::string::npos);
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string name;
    for (int k = 0; k < 6; ++k) name += static_cast<char>(random());
    plot.series[0].name = plot.title = name;
    ASSERT_EQ(neap::test::xml_error(svg(plot)), "") << testing::PrintToString(name);
  }
}

TEST(Plot, refuses_what_cannot_be_drawn) {
  Plot plot = two_series();
  plot.series[1].points[0].y = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(message_of(plot),
            "plot: series '30 %' has y = nan; leave out points that are not finite");
  plot = two_series();
  plot.series[0].points[1].x = std::numeric_limits<double>::infinity();
  EXPECT_EQ(message_of(plot),
            "plot: series 'plain' has x = inf; leave out points that are not finite");
  plot = two_series();
  plot.x.logarithmic = true;
  EXPECT_EQ(message_of(plot),
            "plot: series 'plain' has x = 0 on a logarithmic axis; give values above 0, or take a "
            "linear axis");
}

}  // namespace
