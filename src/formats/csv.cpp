// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "formats/csv.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace neap::formats {
namespace {

constexpr std::string_view kMark = "\xEF\xBB\xBF";

std::string_view stripped(std::string_view cell) {
  while (!cell.empty() && cell.front() == ' ') cell.remove_prefix(1);
  while (!cell.empty() && cell.back() == ' ') cell.remove_suffix(1);
  return cell;
}

std::optional<double> number_of(std::string_view cell) {
  cell = stripped(cell);
  if (cell.starts_with('+') && !cell.starts_with("+-")) cell.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (end != cell.data() + cell.size() || cell.empty()) return std::nullopt;
  // What is too small for a double is 0; what is too large is no number.
  const bool is_tiny =
      error == std::errc::result_out_of_range &&
      (cell.find("e-") != std::string_view::npos || cell.find("E-") != std::string_view::npos);
  if (is_tiny) return 0;
  if (error != std::errc() || !std::isfinite(value)) return std::nullopt;
  return value;
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& label, std::optional<std::int64_t> unlabeled)
      : text_(text), label_(label), unlabeled_(unlabeled) {
    if (text_.starts_with(kMark)) at_ = kMark.size();
    refuse_other_encodings();
    separator_ = find_separator();
  }

  Csv parse() {
    while (next_row()) {
      if (row_.size() == 1 && row_.front().empty()) continue;
      if (columns_ == 0) {
        begin();
      } else {
        add();
      }
    }
    if (csv_.labels.empty()) refuse("no row of numbers");
    take_names_that_are_numbers();
    return std::move(csv_);
  }

 private:
  void refuse_other_encodings() const {
    const bool is_wide = text_.starts_with("\xFF\xFE") || text_.starts_with("\xFE\xFF");
    if (is_wide || text_.substr(0, 4096).find('\0') != std::string_view::npos) {
      throw FormatError("its text is no UTF-8: write it anew with iconv -f UTF-16 -t UTF-8", 0);
    }
  }

  [[nodiscard]] char find_separator() const {
    const std::string_view first = text_.substr(at_, text_.find('\n', at_) - at_);
    char best = ',';
    for (const char one : {';', '\t'}) {
      if (std::ranges::count(first, one) > std::ranges::count(first, best)) best = one;
    }
    return best;
  }

  // Reads the cells of the next line into row_. False: there is none.
  bool next_row() {
    row_.clear();
    if (at_ >= text_.size()) return false;
    line_ += 1 + breaks_;
    breaks_ = 0;
    do {
      row_.push_back(cell());
    } while (take(separator_));
    (void)take('\r');
    if (at_ < text_.size() && !take('\n')) {
      refuse("a quote in cell " + std::to_string(row_.size()) +
             " is followed by something else than the next cell");
    }
    return true;
  }

  std::string cell() {
    std::string cell;
    if (!take('"')) {
      while (at_ < text_.size() && text_[at_] != separator_ && text_[at_] != '\n') {
        cell += text_[at_++];
      }
      if (cell.ends_with('\r')) cell.pop_back();
      return cell;
    }
    while (true) {
      if (at_ == text_.size()) refuse("a quote does not end");
      const char one = text_[at_++];
      if (one == '\n') ++breaks_;
      if (one != '"') {
        cell += one;
      } else if (take('"')) {
        cell += '"';
      } else {
        return cell;
      }
    }
  }

  bool take(char one) {
    if (at_ == text_.size() || text_[at_] != one) return false;
    ++at_;
    return true;
  }

  // The first line.
  void begin() {
    columns_ = row_.size();
    if (label_.empty() && unlabeled_ == static_cast<std::int64_t>(columns_)) {
      label_column_ = columns_;
      csv_.features = static_cast<std::int64_t>(columns_);
      return begin_rows(/*has_names=*/false);
    }
    if (columns_ < 2) {
      refuse("one column; a row has features and a label, with commas, semicolons or tabs between");
    }
    csv_.features = static_cast<std::int64_t>(columns_ - 1);
    const std::optional<std::size_t> by_number = column_numbered();
    label_column_ = by_number ? *by_number : column_named();
    begin_rows(/*has_names=*/!by_number);
  }

  void begin_rows(bool has_names) {
    for (std::size_t i = 0; i < columns_; ++i) {
      has_names = has_names || (i != label_column_ && !number_of(row_[i]));
    }
    if (!has_names) return add();
    for (std::size_t i = 0; i < columns_; ++i) {
      if (i != label_column_) csv_.names.emplace_back(stripped(row_[i]));
    }
  }

  [[nodiscard]] std::optional<std::size_t> column_numbered() const {
    if (label_.empty()) return columns_ - 1;
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(label_.data(), label_.data() + label_.size(), number);
    const bool is_one = error == std::errc() && end == label_.data() + label_.size();
    if (!is_one || number < 1 || number > columns_) return std::nullopt;
    return number - 1;
  }
  [[nodiscard]] std::size_t column_named() const {
    const auto found = std::ranges::find_if(
        row_, [&](const std::string& cell) { return stripped(cell) == label_; });
    if (found != row_.end()) return static_cast<std::size_t>(found - row_.begin());
    refuse("no column has the name " + label_ + ", and it is no number from 1 to " +
           std::to_string(columns_));
  }

  // A table of pandas without names has the numbers of its columns in the first line.
  void take_names_that_are_numbers() {
    if (!csv_.names.empty() || csv_.labels.size() < 2) return;
    const auto is_number = [](const std::string& label) { return number_of(label).has_value(); };
    if (is_number(csv_.labels.front()) ||
        !std::all_of(csv_.labels.begin() + 1, csv_.labels.end(), is_number)) {
      return;
    }
    for (std::int64_t i = 0; i < csv_.features; ++i) {
      // As a text, not as a whole number: it may be larger than one can be.
      std::array<char, 32> digits{};
      const auto end = std::to_chars(digits.data(), digits.data() + digits.size(),
                                     csv_.values[static_cast<std::size_t>(i)]);
      csv_.names.emplace_back(digits.data(), end.ptr);
    }
    csv_.values.erase(csv_.values.begin(), csv_.values.begin() + csv_.features);
    csv_.labels.erase(csv_.labels.begin());
  }

  void add() {
    if (row_.size() != columns_) {
      refuse(std::to_string(row_.size()) + " cells, where the lines before it have " +
             std::to_string(columns_));
    }
    for (std::size_t i = 0; i < columns_; ++i) {
      if (i == label_column_) continue;
      const std::optional<double> value = number_of(row_[i]);
      if (!value) {
        refuse("cell " + std::to_string(i + 1) + " is no finite number: \"" +
               row_[i].substr(0, 40) + "\"; fill or leave out such rows");
      }
      csv_.values.push_back(*value);
    }
    std::string label;
    if (label_column_ < columns_) label = stripped(row_[label_column_]);
    if (label.empty() && !unlabeled_) {
      refuse("cell " + std::to_string(label_column_ + 1) +
             ", the label, is empty; fill or leave out such rows");
    }
    csv_.labels.push_back(std::move(label));
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw FormatError("line " + std::to_string(line_) + ": " + what,
                      static_cast<std::int64_t>(at_));
  }

  std::string_view text_;
  const std::string& label_;
  std::optional<std::int64_t> unlabeled_;
  std::size_t at_ = 0;
  char separator_ = ',';
  std::int64_t line_ = 0;
  std::int64_t breaks_ = 0;  // of lines, inside of quotes of this row
  std::vector<std::string> row_;
  std::size_t columns_ = 0;
  std::size_t label_column_ = 0;
  Csv csv_;
};

}  // namespace

Csv parse_csv(std::string_view text, const std::string& label,
              std::optional<std::int64_t> unlabeled) {
  return Parser(text, label, unlabeled).parse();
}

}  // namespace neap::formats
