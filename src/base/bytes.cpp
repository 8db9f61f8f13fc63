// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include <neap/base.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

namespace neap {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

struct Unit {
  std::string_view name;
  std::int64_t bytes;
};
constexpr std::array<Unit, 10> kUnits{{{"B", 1},
                                       {"kB", 1000},
                                       {"KB", 1000},
                                       {"MB", 1000LL * 1000},
                                       {"GB", 1000LL * 1000 * 1000},
                                       {"TB", 1000LL * 1000 * 1000 * 1000},
                                       {"KiB", 1LL << 10},
                                       {"MiB", 1LL << 20},
                                       {"GiB", 1LL << 30},
                                       {"TiB", 1LL << 40}}};

// Parses a text from left to right; `at_` is the position.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Bytes read() {
    skip_spaces();
    const std::int64_t whole = digits("a number");
    std::string_view fraction;
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      const std::size_t start = at_;
      while (is_digit()) ++at_;
      if (at_ == start) refuse("a digit after the point");
      fraction = text_.substr(start, at_ - start);
    }
    skip_spaces();
    const std::int64_t unit = read_unit();
    skip_spaces();
    if (at_ != text_.size()) refuse("nothing more");
    if (unit == 1 && !fraction.empty()) refuse("a unit: a byte has no parts");
    if (whole > kMost / unit) refuse_size();
    const std::int64_t parts = fraction_of(fraction, unit);
    if (whole * unit > kMost - parts) refuse_size();
    return Bytes(whole * unit + parts);
  }

 private:
  [[nodiscard]] bool is_digit() const {
    return at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9';
  }

  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  std::int64_t digits(const char* wanted) {
    if (!is_digit()) refuse(wanted);
    std::int64_t value = 0;
    for (; is_digit(); ++at_) {
      const int digit = text_[at_] - '0';
      if (value > (kMost - digit) / 10) refuse_size();
      value = value * 10 + digit;
    }
    return value;
  }

  std::int64_t read_unit() {
    const std::size_t start = at_;
    while (at_ < text_.size() &&
           ((text_[at_] >= 'a' && text_[at_] <= 'z') || (text_[at_] >= 'A' && text_[at_] <= 'Z'))) {
      ++at_;
    }
    const std::string_view name = text_.substr(start, at_ - start);
    if (name.empty()) return 1;
    for (const Unit& unit : kUnits) {
      if (unit.name == name) return unit.bytes;
    }
    at_ = start;
    refuse("B, kB, MB, GB, TB, KiB, MiB, GiB or TiB");
  }

  // floor(0.fraction * unit), by long division: a double would round.
  static std::int64_t fraction_of(std::string_view fraction, std::int64_t unit) {
    std::int64_t bytes = 0;
    for (auto digit = fraction.rbegin(); digit != fraction.rend(); ++digit) {
      // Exact, because floor((a + floor(b)) / 10) is floor((a + b) / 10) for whole a.
      bytes = ((*digit - '0') * unit + bytes) / 10;
    }
    return bytes;
  }

  [[noreturn]] void refuse(const std::string& wanted) const {
    throw InvalidArgument("'" + std::string(text_) + "' is not a number of bytes: at position " +
                          std::to_string(at_ + 1) + " expected " + wanted +
                          "; write it as 123, 64KiB, 1.5 GiB or 2GB");
  }

  [[noreturn]] void refuse_size() const {
    throw InvalidArgument("'" + std::string(text_) + "' is not a number of bytes: at position " +
                          std::to_string(at_ + 1) + " it passes 2^63 - 1; write a smaller one");
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Bytes Bytes::parse(std::string_view text) { return Reader(text).read(); }

// Not by printf, which takes longer than an eviction may. Exact below 8 PiB, where a double holds
// each number of bytes.
std::string Bytes::text() const {
  constexpr std::array<std::string_view, 7> kNames{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  constexpr double kRoundsUp = 1023.95;  // to 1024.0, which is 1.0 of the next unit
  if (std::abs(static_cast<double>(count_)) < 1024) return std::to_string(count_) + " B";
  auto value = static_cast<double>(count_);
  std::size_t unit = 0;
  for (; std::abs(value) >= kRoundsUp && unit + 1 < kNames.size(); ++unit) value /= 1024;
  std::array<char, 16> digits{};
  char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), value,
                                  std::chars_format::fixed, 1)
                        .ptr;
  *end = ' ';
  return std::string(digits.data(), end + 1).append(kNames[unit]);
}

}  // namespace neap
