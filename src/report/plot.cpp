// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "report/characters.h"

#include <neap/report.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

namespace neap::report {
namespace {

constexpr double kWidth = 720, kHeight = 440;
constexpr double kLeft = 76, kTop = 46, kBottom = 58, kRight = 24;
// Mean width of a character at 12 px, for the space of the legend.
constexpr double kCharacter = 6.6;

// Distinguishable for colour-blind readers too: "Color Universal Design", Okabe and Ito.
constexpr std::array kColours{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                              "#e69f00", "#56b4e9", "#000000"};
// Series beyond the colours reuse them with other dashes.
constexpr std::array kDashes{"", "7 4", "2 3"};

// Shortest text of a number: `0.5`, `2000`, `1e+06`.
std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6g", value);
  return text.data();
}

std::string pixel(double value) { return fixed(value, 2); }

// The range of an axis in data units, and its tick marks.
struct Scale {
  bool logarithmic = false;
  double low = 0;
  double high = 1;
  std::vector<double> ticks = {};

  // 0 at low, 1 at high.
  [[nodiscard]] double share(double value) const {
    if (logarithmic) return std::log(value / low) / std::log(high / low);
    return (value - low) / (high - low);
  }
};

// Starts at 0, or at a round number below the smallest value when all values are close together and
// far from 0.
Scale linear_scale(double smallest, double largest) {
  if (smallest > 0 && smallest < largest / 2) smallest = 0;
  if (largest < 0 && largest > smallest / 2) largest = 0;
  // Values that differ only in their last digits are treated as equal, because no tick marks fit
  // between them.
  const double size = std::max(std::abs(smallest), std::abs(largest));
  if (largest - smallest <= size * 1e-9) {
    const double around = size == 0 ? 1 : size / 2;
    smallest -= around;
    largest += around;
  }
  const double rough = (largest - smallest) / 6;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * 0.999) {
      step = factor * power;
      break;
    }
  }
  const double first = std::floor(smallest / step + 1e-9), last = std::ceil(largest / step - 1e-9);
  Scale scale{.low = first * step, .high = last * step};
  for (double i = first; i <= last; ++i) scale.ticks.push_back(i == 0 ? 0 : i * step);
  return scale;
}

// Powers of ten, and their double and fivefold where those would be few.
Scale logarithmic_scale(double smallest, double largest) {
  const auto marks = [](double low, double high, bool fine) {
    std::vector<double> result;
    for (double power = std::floor(std::log10(low)) - 1; power <= std::ceil(std::log10(high)) + 1;
         ++power) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        if (factor == 1.0 || fine) result.push_back(factor * std::pow(10, power));
      }
    }
    return result;
  };
  const std::vector<double> all = marks(smallest, largest, largest < smallest * 1e3);
  // The marks around the data are the ends of the axis.
  auto first = std::ranges::upper_bound(all, smallest * (1 + 1e-9)) - 1;
  auto last = std::ranges::lower_bound(all, largest * (1 - 1e-9));
  if (first == last) --first, ++last;
  Scale scale{.logarithmic = true, .low = *first, .high = *last};
  // At most eight numbers beside an axis.
  const auto every = (last - first) / 8 + 1;
  for (auto mark = first; mark <= last; mark += every) scale.ticks.push_back(*mark);
  return scale;
}

void require_drawable(const Plot& plot) {
  const auto require = [](const Series& series, const Axis& axis, const char* name, double value) {
    if (!std::isfinite(value)) {
      throw InvalidArgument("plot: series '" + series.name + "' has " + name + " = " +
                            number(value) + "; leave out points that are not finite");
    }
    if (axis.logarithmic && value <= 0) {
      throw InvalidArgument("plot: series '" + series.name + "' has " + name + " = " +
                            number(value) +
                            " on a logarithmic axis; give values above 0, or take a linear axis");
    }
  };
  for (const Series& series : plot.series) {
    for (const Point& point : series.points) {
      require(series, plot.x, "x", point.x);
      require(series, plot.y, "y", point.y);
    }
  }
}

Scale scale_of(const Plot& plot, const Axis& axis, double Point::*coordinate) {
  double smallest = std::numeric_limits<double>::infinity(), largest = -smallest;
  for (const Series& series : plot.series) {
    for (const Point& point : series.points) {
      smallest = std::min(smallest, point.*coordinate);
      largest = std::max(largest, point.*coordinate);
    }
  }
  if (smallest > largest) smallest = largest = 1;
  return axis.logarithmic ? logarithmic_scale(smallest, largest) : linear_scale(smallest, largest);
}

class Drawing {
 public:
  explicit Drawing(const Plot& plot)
      : plot_(plot),
        x_(scale_of(plot, plot.x, &Point::x)),
        y_(scale_of(plot, plot.y, &Point::y)),
        right_(kWidth - kRight - legend_width()) {}

  std::string text() {
    out_ =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" "
        "width=\"" +
        number(kWidth) + "\" height=\"" + number(kHeight) + "\" viewBox=\"0 0 " + number(kWidth) +
        ' ' + number(kHeight) +
        "\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#333333\">\n";
    out_ += "<title>" + xml_text(plot_.title) + "</title>\n";
    out_ += "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n";
    draw_axes();
    for (std::size_t i = 0; i < plot_.series.size(); ++i) draw_series(i);
    if (has_legend()) draw_legend();
    return out_ + "</svg>\n";
  }

 private:
  [[nodiscard]] bool has_legend() const { return plot_.series.size() > 1; }
  [[nodiscard]] double legend_width() const {
    if (!has_legend()) return 0;
    std::size_t longest = 0;
    for (const Series& series : plot_.series) longest = std::max(longest, width_of(series.name));
    return std::min(48 + kCharacter * static_cast<double>(longest), kWidth / 2);
  }
  [[nodiscard]] double across(double x) const { return kLeft + x_.share(x) * (right_ - kLeft); }
  [[nodiscard]] double down(double y) const {
    return kHeight - kBottom - y_.share(y) * (kHeight - kBottom - kTop);
  }

  void write(double x, double y, const char* attributes, const std::string& text) {
    out_ += "<text x=\"" + pixel(x) + "\" y=\"" + pixel(y) + "\" " + attributes + '>' +
            xml_text(text) + "</text>\n";
  }
  void line(double x1, double y1, double x2, double y2, const std::string& attributes) {
    out_ += "<line x1=\"" + pixel(x1) + "\" y1=\"" + pixel(y1) + "\" x2=\"" + pixel(x2) +
            "\" y2=\"" + pixel(y2) + "\" " + attributes + "/>\n";
  }

  void draw_axes() {
    const double bottom = kHeight - kBottom, middle = (kLeft + right_) / 2;
    const std::string grid = "stroke=\"#e4e4e4\"", frame = "stroke=\"#777777\"";
    for (const double tick : y_.ticks) {
      line(kLeft, down(tick), right_, down(tick), grid);
      write(kLeft - 8, down(tick) + 4, "text-anchor=\"end\"", number(tick));
    }
    for (const double tick : x_.ticks) {
      line(across(tick), kTop, across(tick), bottom, grid);
      write(across(tick), bottom + 18, "text-anchor=\"middle\"", number(tick));
    }
    line(kLeft, bottom, right_, bottom, frame);
    line(kLeft, kTop, kLeft, bottom, frame);
    write(middle, 26, "text-anchor=\"middle\" font-size=\"15\" font-weight=\"bold\"", plot_.title);
    write(middle, kHeight - 16, "text-anchor=\"middle\"", plot_.x.label);
    const double height = (kTop + bottom) / 2;
    const std::string turned =
        "text-anchor=\"middle\" transform=\"rotate(-90 18 " + pixel(height) + ")\"";
    write(18, height, turned.c_str(), plot_.y.label);
    if (std::ranges::all_of(plot_.series, [](const Series& s) { return s.points.empty(); })) {
      write(middle, height, "text-anchor=\"middle\" fill=\"#777777\"", "no points");
    }
  }

  [[nodiscard]] static std::string stroke(std::size_t series) {
    const std::string_view dashes = kDashes[series / kColours.size() % kDashes.size()];
    std::string text = "stroke=\"" + std::string(kColours[series % kColours.size()]) +
                       "\" stroke-width=\"2\" fill=\"none\"";
    if (!dashes.empty()) text += " stroke-dasharray=\"" + std::string(dashes) + '"';
    return text;
  }
  void dot(double x, double y, std::size_t series) {
    out_ += "<circle cx=\"" + pixel(x) + "\" cy=\"" + pixel(y) + "\" r=\"3.5\" fill=\"" +
            kColours[series % kColours.size()] + "\"/>\n";
  }

  void draw_series(std::size_t index) {
    const Series& series = plot_.series[index];
    if (series.line && series.points.size() > 1) {
      out_ += "<polyline " + stroke(index) + " points=\"";
      for (const Point& point : series.points) {
        if (out_.back() != '"') out_ += ' ';
        out_ += pixel(across(point.x)) + ',' + pixel(down(point.y));
      }
      out_ += "\"/>\n";
    }
    for (const Point& point : series.points) dot(across(point.x), down(point.y), index);
  }

  void draw_legend() {
    const double x = right_ + 16;
    double y = kTop + 10;
    for (std::size_t i = 0; i < plot_.series.size(); ++i, y += 20) {
      if (plot_.series[i].line) line(x, y, x + 22, y, stroke(i));
      dot(x + 11, y, i);
      write(x + 28, y + 4, "text-anchor=\"start\"", plot_.series[i].name);
    }
  }

  const Plot& plot_;
  Scale x_, y_;
  double right_;
  std::string out_;
};

}  // namespace

std::string svg(const Plot& plot) {
  require_drawable(plot);
  return Drawing(plot).text();
}

}  // namespace neap::report
