// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "report/characters.h"

#include <neap/report.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace neap::report {
namespace {

// Terminals and Markdown allow no line breaks in a cell.
std::string one_line(std::string text) {
  for (char& character : text) {
    if (character == '\n' || character == '\r' || character == '\t') character = ' ';
  }
  return text;
}

std::string markdown_cell(const std::string& text) {
  std::string result;
  for (const char character : one_line(text)) {
    if (character == '|') result += '\\';
    result += character;
  }
  return result;
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char character : text) {
    if (character == '"') result += '"';
    result += character;
  }
  return result + '"';
}

void append_csv_line(std::string& to, const std::vector<std::string>& cells) {
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) to += ',';
    to += csv_cell(cells[i]);
  }
  to += "\r\n";
}

void append_padded(std::string& to, const std::string& cell, std::size_t width, Align align) {
  const std::string space(width - width_of(cell), ' ');
  to += align == Align::Right ? space + cell : cell + space;
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  if (columns_.empty()) throw InvalidArgument("a table without columns: name one at least");
}

void Table::add_row(std::vector<std::string> cells) {
  if (cells.size() != columns_.size()) {
    throw InvalidArgument("a row of " + std::to_string(cells.size()) + " cells in a table of " +
                          std::to_string(columns_.size()) +
                          " columns; give each column a cell, an empty one for nothing");
  }
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::vector<std::string>> lines(1);
  for (const Column& column : columns_) lines[0].push_back(one_line(column.name));
  for (const auto& row : rows_) {
    lines.emplace_back();
    for (const std::string& cell : row) lines.back().push_back(one_line(cell));
  }
  std::vector<std::size_t> widths(columns_.size());
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i)
      widths[i] = std::max(widths[i], width_of(line[i]));
  }
  std::vector<std::string> dashes;
  dashes.reserve(widths.size());
  for (const std::size_t width : widths) dashes.emplace_back(width, '-');
  lines.insert(lines.begin() + 1, dashes);

  std::string result;
  for (const auto& line : lines) {
    std::string padded;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (i > 0) padded += "  ";
      append_padded(padded, line[i], widths[i], columns_[i].align);
    }
    padded.erase(padded.find_last_not_of(' ') + 1);
    result += padded + '\n';
  }
  return result;
}

std::string Table::markdown() const {
  std::string result = "|";
  for (const Column& column : columns_) result += ' ' + markdown_cell(column.name) + " |";
  result += "\n|";
  for (const Column& column : columns_) result += column.align == Align::Right ? "---:|" : "---|";
  result += '\n';
  for (const auto& row : rows_) {
    result += '|';
    for (const std::string& cell : row) result += ' ' + markdown_cell(cell) + " |";
    result += '\n';
  }
  return result;
}

std::string Table::csv() const {
  std::vector<std::string> names;
  for (const Column& column : columns_) names.push_back(column.name);
  std::string result;
  append_csv_line(result, names);
  for (const auto& row : rows_) append_csv_line(result, row);
  return result;
}

std::string fixed(double value, int decimals) {
  const int length = std::snprintf(nullptr, 0, "%.*f", decimals, value);
  std::string text(static_cast<std::size_t>(length), '\0');
  std::snprintf(text.data(), text.size() + 1, "%.*f", decimals, value);
  return text;
}

}  // namespace neap::report
