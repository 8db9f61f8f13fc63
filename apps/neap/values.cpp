// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "values.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <optional>
#include <sstream>
#include <string_view>

namespace neap::app {
namespace {

constexpr const char* kWritten = "written";  // a validator's name, which no help shows

template <class Number>
std::optional<Number> parse(std::string_view text) {
  Number value{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

std::string shown(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

// Checks that the text is a number for which `holds(value)` is true.
template <class Holds>
CLI::Validator real_number(const std::string& range, Holds holds) {
  return {[=](std::string& text) -> std::string {
            const std::optional<double> value = parse<double>(text);
            if (value && std::isfinite(*value) && !std::signbit(*value) && holds(*value)) return {};
            return "'" + text + "' is no number " + range;
          },
          "NUMBER " + range};
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

CLI::Validator whole_number(std::int64_t least, std::int64_t most) {
  const bool any = least == std::numeric_limits<std::int64_t>::min();
  const std::string range =
      any ? "of 64 bits" : "from " + std::to_string(least) + " to " + std::to_string(most);
  return {[=](std::string& text) -> std::string {
            const std::optional<std::int64_t> value = parse<std::int64_t>(text);
            if (!value || *value < least || *value > most) {
              return "'" + text + "' is no whole number " + range;
            }
            text = std::to_string(*value);
            return {};
          },
          any ? "" : range};
}

CLI::Validator whole_number_or_auto() {
  return {[number = whole_number(1)](std::string& text) -> std::string {
            if (text == "auto") return {};
            const std::string wrong = number(text);
            return wrong.empty() ? wrong : wrong + ", nor auto";
          },
          "from 1 on, or auto"};
}

CLI::Validator number(double least, double most) {
  return real_number("from " + shown(least) + " to " + shown(most),
                     [=](double value) { return value >= least && value <= most; });
}

CLI::Validator seconds() {
  constexpr double kYear = 365.0 * 24 * 3600;
  return real_number("of seconds above 0 and up to a year",
                     [=](double value) { return value > 0 && value <= kYear; });
}

CLI::Validator not_empty(const std::string& what) {
  return {[=](std::string& text) -> std::string {
            return text.empty() ? "is empty; name a " + what + ", or leave the option out"
                                : std::string();
          },
          ""};
}

CLI::Validator written_path() {
  return {[](std::string&) { return std::string(); }, "", kWritten};
}

CLI::Validator written_path(const std::string& what) {
  return {[what, check = not_empty(what)](std::string& text) {
            return text == "-" ? "- is standard output for other options; write ./- for a " + what +
                                     " of that name"
                               : check(text);
          },
          "", kWritten};
}

bool is_written(CLI::Option& option) {
  try {
    return option.get_validator(kWritten) != nullptr;
  } catch (const CLI::OptionNotFound&) {
    return false;
  }
}

CLI::Validator existing_file() {
  return {[](std::string& path) -> std::string {
            std::error_code error;
            if (std::filesystem::is_regular_file(path, error)) return {};
            return path + (std::filesystem::exists(path, error)
                               ? " is no file; name one"
                               : " is not there; check the name and the permissions");
          },
          ""};
}

std::optional<double> parse_percent(std::string_view text) {
  if (!text.ends_with('%')) return std::nullopt;
  text.remove_suffix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  const std::optional<double> percent = parse<double>(text);
  return percent && std::isfinite(*percent) ? percent : std::nullopt;
}

std::string suggestion(const std::string& written, const std::vector<std::string>& known) {
  const auto distance = [&](const std::string& one) { return edit_distance(written, one); };
  const auto nearest = std::ranges::min_element(known, {}, distance);
  if (nearest == known.end() || distance(*nearest) > 1 + written.size() / 3) return {};
  return "; did you mean '" + *nearest + "'?";
}

}  // namespace neap::app
