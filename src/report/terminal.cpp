// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/terminal.h>

#include "report/characters.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace neap::report {
namespace {

struct Glyphs {
  std::array<const char*, 9> filled;  // by eighths of a cell
  const char *line, *vertical, *tick, *corner, *horizontal, *mark, *peak, *cut;
};
constexpr Glyphs kUtf8{
    {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}, "┄", "│", "┤", "└", "─", "━", "▲", "…"};
constexpr Glyphs kAscii{
    {" ", " ", " ", " ", "#", "#", "#", "#", "#"}, "-", "|", "+", "+", "-", "=", "^", "~"};

constexpr std::size_t kFewest = 10;  // columns of the area itself, where there are labels

const Glyphs& glyphs_of(const TerminalStyle& style) { return style.utf8 ? kUtf8 : kAscii; }

// The first `columns` columns of the text.
std::string_view beginning(std::string_view text, std::size_t columns) {
  std::size_t end = 0;
  for (std::size_t width = 0; end < text.size(); ++width) {
    if (width == columns) return text.substr(0, end);
    ++end;
    while (end < text.size() && width_of(text.substr(0, end + 1)) == width + 1) ++end;
  }
  return text;
}

std::string fit_line(std::string_view line, const TerminalStyle& style) {
  const std::size_t most = std::max<std::size_t>(style.columns, 2) - 1;
  if (width_of(line) <= most) return std::string(line);
  return std::string(beginning(line, most - 1)) + glyphs_of(style).cut;
}

class Drawing {
 public:
  Drawing(const AreaPlot& plot, const TerminalStyle& style)
      : plot_(plot), style_(style), glyphs_(glyphs_of(style)) {
    check();
    for (const Point& point : plot.steps) {
      if (point.y > plot.steps[peak_].y) {
        peak_ = static_cast<std::size_t>(&point - plot.steps.data());
      }
    }
    highest_ = std::max({plot.highest, plot.steps[peak_].y, plot.line.value_or(0)});
    if (highest_ <= 0) highest_ = 1;
    longest_ = std::max(plot.longest, plot.steps.back().x);
    if (longest_ <= 0) longest_ = 1;
    labels();
    fill();
  }

  std::string text() {
    std::string all;
    for (std::size_t row = plot_.rows; row-- > 0;) all += line_of(row) + '\n';
    all += axis() + '\n' + times() + '\n' + legend();
    return fit(all, style_);
  }

 private:
  void check() const {
    if (plot_.steps.empty()) throw InvalidArgument("a plot without points: give it one at least");
    if (plot_.rows == 0) throw InvalidArgument("a plot of 0 rows: give it one at least");
    double last = 0;
    for (const Point& point : plot_.steps) {
      if (!is_amount(point.x) || !is_amount(point.y) || point.x < last) {
        throw InvalidArgument("a plot with a point at (" + std::to_string(point.x) + ", " +
                              std::to_string(point.y) + ") after x = " + std::to_string(last) +
                              "; give it finite numbers from 0 on, and x in order");
      }
      last = point.x;
    }
    bool are_amounts =
        is_amount(plot_.highest) && is_amount(plot_.longest) && is_amount(plot_.line.value_or(0));
    for (const auto& [from, to] : plot_.marks) {
      are_amounts = are_amounts && is_amount(from) && is_amount(to);
    }
    if (are_amounts) return;
    throw InvalidArgument(
        "a plot with a scale, a line or a mark that is negative or not finite; give it numbers "
        "from 0 on");
  }
  static bool is_amount(double value) { return std::isfinite(value) && value >= 0; }

  static std::string number(const std::function<std::string(double)>& as, double value) {
    return as ? as(value) : fixed(value, 0);
  }

  // Every third row has one, with the value at its upper edge.
  void labels() {
    labels_.resize(plot_.rows);
    for (std::size_t row = plot_.rows - 1;; row -= 3) {
      labels_[row] = number(plot_.y_text, value_above(row));
      label_width_ = std::max(label_width_, width_of(labels_[row]));
      if (row < 3) break;
    }
    zero_ = number(plot_.y_text, 0);
    label_width_ = std::max(label_width_, width_of(zero_));
    const std::size_t most = std::max<std::size_t>(style_.columns, 2) - 1;
    has_labels_ = most >= label_width_ + 2 + kFewest;
    width_ = has_labels_ ? most - label_width_ - 2 : most;
  }
  [[nodiscard]] double value_above(std::size_t row) const {
    return highest_ * static_cast<double>(row + 1) / static_cast<double>(plot_.rows);
  }

  [[nodiscard]] std::size_t column_of(double x) const {
    const double share = x / longest_ * static_cast<double>(width_);
    return std::min(static_cast<std::size_t>(share), width_ - 1);
  }

  void fill() {
    most_.assign(width_, 0);
    for (std::size_t i = 0; i < plot_.steps.size(); ++i) {
      const Point& point = plot_.steps[i];
      const bool is_last = i + 1 == plot_.steps.size();
      const std::size_t from = column_of(point.x);
      std::size_t to = is_last ? from : column_of(plot_.steps[i + 1].x);
      // A step that ends where a column begins is not in it.
      if (!is_last && to > from &&
          plot_.steps[i + 1].x / longest_ * static_cast<double>(width_) <=
              static_cast<double>(to)) {
        --to;
      }
      for (std::size_t column = from; column <= to; ++column) {
        most_[column] = std::max(most_[column], point.y);
      }
    }
  }

  std::string line_of(std::size_t row) {
    std::string line = margin(labels_[row], labels_[row].empty() ? glyphs_.vertical : glyphs_.tick);
    const double rows = static_cast<double>(plot_.rows);
    const bool has_limit =
        plot_.line &&
        row == std::min(plot_.rows - 1, static_cast<std::size_t>(*plot_.line / highest_ * rows));
    std::string blanks;
    for (std::size_t column = 0; column < width_; ++column) {
      const double eighths = 8 * (most_[column] / highest_ * rows - static_cast<double>(row));
      // Rounded up, so that little is not nothing.
      const auto filled = static_cast<std::size_t>(std::clamp(std::ceil(eighths), 0.0, 8.0));
      const char* glyph = glyphs_.filled.at(filled);
      if (row == 0 && most_[column] > 0 && glyph[0] == ' ') glyph = glyphs_.filled.back();
      if (has_limit && (glyph[0] == ' ' || filled < 8)) glyph = glyphs_.line;
      if (glyph[0] == ' ') {
        blanks += ' ';
        continue;
      }
      line += blanks + glyph;
      blanks.clear();
    }
    return line;
  }

  std::string margin(const std::string& label, const char* edge) const {
    if (!has_labels_) return {};
    return std::string(label_width_ - width_of(label), ' ') + label + ' ' + edge;
  }

  std::string axis() const {
    std::vector<const char*> cells(width_, glyphs_.horizontal);
    for (const auto& [from, to] : plot_.marks) {
      for (std::size_t i = column_of(from); i <= column_of(to); ++i) cells[i] = glyphs_.mark;
    }
    cells[column_of(plot_.steps[peak_].x)] = glyphs_.peak;
    std::string line = margin(zero_, glyphs_.corner);
    for (const char* const cell : cells) line += cell;
    return line;
  }

  std::string times() const {
    const std::string begin = number(plot_.x_text, 0), end = number(plot_.x_text, longest_);
    std::string line(has_labels_ ? label_width_ + 2 : 0, ' ');
    line += begin;
    const std::size_t used = width_of(begin) + width_of(end);
    if (used + 1 <= width_) line += std::string(width_ - used, ' ') + end;
    return line;
  }

  // Entries that do not fit beside each other stand below each other.
  std::string legend() const {
    std::vector<std::string> entries{std::string(glyphs_.peak) + " peak " +
                                     number(plot_.y_text, plot_.steps[peak_].y) + " at " +
                                     number(plot_.x_text, plot_.steps[peak_].x)};
    if (plot_.line) {
      entries.push_back(std::string(glyphs_.line) + ' ' + plot_.line_name + ' ' +
                        number(plot_.y_text, *plot_.line));
    }
    if (!plot_.marks.empty()) entries.push_back(std::string(glyphs_.mark) + ' ' + plot_.marks_name);
    std::string all, line;
    for (const std::string& entry : entries) {
      if (!line.empty() && width_of(line) + 3 + width_of(entry) >= style_.columns) {
        all += line + '\n';
        line.clear();
      }
      line += (line.empty() ? "" : "   ") + entry;
    }
    return all + line + '\n';
  }

  const AreaPlot& plot_;
  const TerminalStyle& style_;
  const Glyphs& glyphs_;
  std::size_t peak_ = 0;  // the step of the largest y; of several, the first
  double highest_ = 0, longest_ = 0;
  std::vector<std::string> labels_;  // by row, from below
  std::string zero_;
  std::size_t label_width_ = 0;
  bool has_labels_ = true;
  std::size_t width_ = 0;     // of the area
  std::vector<double> most_;  // by column
};

}  // namespace

std::string fit(std::string_view text, const TerminalStyle& style) {
  std::string all;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    all += fit_line(text.substr(0, end), style);
    if (end == std::string_view::npos) break;
    all += '\n';
    text.remove_prefix(end + 1);
  }
  return all;
}

std::string text(const AreaPlot& plot, const TerminalStyle& style) {
  return Drawing(plot, style).text();
}

}  // namespace neap::report
