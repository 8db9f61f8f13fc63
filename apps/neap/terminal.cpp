// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "terminal.h"

#include "output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>
#include <string_view>

namespace neap::app {
namespace {

constexpr std::size_t kUsual = 80;
constexpr std::size_t kMost = 10000;  // more is no width that anyone can mean
constexpr std::size_t kIndent = 4;    // of a sentence below its row

std::optional<std::size_t> columns_of_environment() {
  const char* const text = std::getenv("COLUMNS");
  if (text == nullptr) return {};
  std::size_t columns = 0;
  const char* const end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, columns);
  if (error != std::errc{} || stop != end || columns == 0 || columns > kMost) return {};
  return columns;
}

bool speaks_utf8() {
  for (const char* const name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* const value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    std::string text(value);
    std::ranges::transform(text, text.begin(), [](char one) {
      return one >= 'A' && one <= 'Z' ? static_cast<char>(one - 'A' + 'a') : one;
    });
    return text.find("utf-8") != std::string::npos || text.find("utf8") != std::string::npos;
  }
  return false;
}

// The table without some columns. Texts from a trace are shown, not obeyed.
std::string table_of(const std::vector<report::Column>& columns, const Rows& rows,
                     const std::vector<bool>& shown) {
  std::vector<report::Column> kept;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (shown[i]) kept.push_back(columns[i]);
  }
  report::Table table(kept);
  for (const auto& row : rows) {
    std::vector<std::string> cells;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (shown[i]) cells.push_back(printable(row[i]));
    }
    table.add_row(std::move(cells));
  }
  return table.text();
}

bool fits(const std::string& text, const Terminal& terminal) {
  return !terminal.is_bounded || report::fit(text, terminal.style) == text;
}

}  // namespace

std::size_t columns_of(int descriptor) {
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return columns_of_environment().value_or(kUsual);
}

Terminal terminal_of(int descriptor) {
  return {.style = {.columns = columns_of(descriptor), .utf8 = speaks_utf8()},
          .is_bounded = isatty(descriptor) != 0 || columns_of_environment().has_value()};
}

std::string wrapped(const std::string& text, std::size_t indent, std::size_t columns) {
  const std::string margin(indent, ' ');
  std::string all, line;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (!line.empty() && indent + line.size() + 1 + word.size() > columns) {
      all += margin + line + '\n';
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return all + margin + line + '\n';
}

std::string fitted_table(const std::vector<report::Column>& columns, const Rows& rows,
                         const std::vector<std::size_t>& first_to_go, const Terminal& terminal) {
  std::vector<bool> shown(columns.size(), true);
  std::string text = table_of(columns, rows, shown);
  for (const std::size_t column : first_to_go) {
    if (fits(text, terminal)) break;
    shown[column] = false;
    text = table_of(columns, rows, shown);
  }
  return terminal.is_bounded ? report::fit(text, terminal.style) : text;
}

std::string table_with_reasons(const std::vector<report::Column>& columns, const Rows& rows,
                               const Terminal& terminal) {
  std::vector<bool> shown(columns.size(), true);
  const std::string whole = table_of(columns, rows, shown);
  if (fits(whole, terminal)) return whole;
  shown.back() = false;
  std::istringstream lines(report::fit(table_of(columns, rows, shown), terminal.style));
  std::string text, line;
  for (std::size_t i = 0; std::getline(lines, line); ++i) {
    text += line + '\n';
    // Two lines come before the rows: the names and the dashes.
    if (i >= 2) text += wrapped(printable(rows[i - 2].back()), kIndent, terminal.style.columns - 1);
  }
  return report::fit(text, terminal.style);
}

}  // namespace neap::app
