// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "formats/npy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <string_view>

namespace neap::formats {
namespace {

struct Type {
  std::string_view name;
  Element element;
  std::size_t bytes;
};
constexpr std::array kTypes = {Type{"|b1", Element::Bool, 1},    Type{"|u1", Element::UInt8, 1},
                               Type{"|i1", Element::Int8, 1},    Type{"<i2", Element::Int16, 2},
                               Type{"<i4", Element::Int32, 4},   Type{"<i8", Element::Int64, 8},
                               Type{"<f4", Element::Float32, 4}, Type{"<f8", Element::Float64, 8}};

// Reads the header: a literal of Python, as
//   {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class Header {
 public:
  Header(std::string_view text, std::int64_t begin) : text_(text), begin_(begin) {}

  void read(Npy& npy) {
    expect("{");
    while (!take("}")) {
      const std::string_view key = quoted();
      expect(":");
      if (key == "descr") {
        set_type(npy, quoted());
      } else if (key == "fortran_order") {
        if (take("True")) {
          refuse("its items are in Fortran's order; save numpy.ascontiguousarray(x)");
        }
        expect("False");
        has_order_ = true;
      } else if (key == "shape") {
        read_shape(npy);
      } else {
        refuse("a header with an unknown key");
      }
      (void)take(",");
    }
    if (!has_type_ || !has_order_ || !has_shape_) {
      refuse("a header without descr, fortran_order or shape");
    }
  }

 private:
  void set_type(Npy& npy, std::string_view name) {
    for (const Type& type : kTypes) {
      if (type.name != name) continue;
      npy.element = type.element;
      has_type_ = true;
      return;
    }
    refuse("items of the type " + std::string(name) +
           "; save bool, uint8, int8 to int64, float32 or float64, the lowest byte first");
  }

  void read_shape(Npy& npy) {
    expect("(");
    while (!take(")")) {
      skip_blanks();
      std::int64_t extent = 0;
      const char* const from = text_.data() + at_;
      const auto [end, error] = std::from_chars(from, text_.data() + text_.size(), extent);
      if (error != std::errc() || extent < 0) refuse("an extent that is no number");
      at_ += static_cast<std::size_t>(end - from);
      constexpr std::size_t kMostExtents = 8;
      if (npy.shape.size() == kMostExtents) refuse("more than 8 extents");
      npy.shape.push_back(extent);
      if (!take(",")) {
        expect(")");
        break;
      }
    }
    has_shape_ = true;
  }

  std::string_view quoted() {
    skip_blanks();
    const char quote = at_ < text_.size() ? text_[at_] : ' ';
    if (quote != '\'' && quote != '"') refuse("a header without a text where one belongs");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) refuse("a text in the header does not end");
    const std::string_view text = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return text;
  }

  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool take(std::string_view word) {
    skip_blanks();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  void expect(std::string_view word) {
    if (!take(word)) refuse("a header without '" + std::string(word) + "' where it belongs");
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw FormatError(what, begin_ + static_cast<std::int64_t>(at_));
  }

  std::string_view text_;
  std::int64_t begin_;  // offset of the text in the file
  std::size_t at_ = 0;
  bool has_type_ = false, has_order_ = false, has_shape_ = false;
};

// Absent when the product does not fit, also without the extents of 0: the strides must fit too.
std::optional<std::size_t> bytes_needed(const Npy& npy) {
  auto bytes = static_cast<std::int64_t>(bytes_of(npy.element));
  bool is_empty = false;
  for (const std::int64_t extent : npy.shape) {
    is_empty = is_empty || extent == 0;
    const std::int64_t times = std::max<std::int64_t>(1, extent);
    if (bytes > std::numeric_limits<std::int64_t>::max() / times) return std::nullopt;
    bytes *= times;
  }
  return is_empty ? 0 : static_cast<std::size_t>(bytes);
}

}  // namespace

std::size_t bytes_of(Element element) {
  for (const Type& type : kTypes) {
    if (type.element == element) return type.bytes;
  }
  return 1;
}

Npy parse_npy(std::span<const unsigned char> file) {
  constexpr std::string_view kMagic = "\x93NUMPY";
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (!text.starts_with(kMagic)) {
    throw FormatError("no array of numpy.save: it does not begin with \\x93NUMPY", 0);
  }
  std::size_t at = kMagic.size();
  if (file.size() < at + 2)
    throw FormatError("cut short in its header", static_cast<std::int64_t>(file.size()));
  const unsigned version = file[at];
  if (version < 1 || version > 3) {
    throw FormatError("an array of version " + std::to_string(version) + "; known are 1 to 3",
                      static_cast<std::int64_t>(at));
  }
  at += 2;
  const std::size_t width = version == 1 ? 2 : 4;  // of the header's length
  if (file.size() < at + width) {
    throw FormatError("cut short in its header", static_cast<std::int64_t>(file.size()));
  }
  std::size_t length = 0;
  for (std::size_t i = 0; i < width; ++i) length |= static_cast<std::size_t>(file[at + i]) << 8 * i;
  at += width;
  if (file.size() - at < length) {
    throw FormatError("cut short: a header of " + std::to_string(length) + " bytes is promised",
                      static_cast<std::int64_t>(file.size()));
  }
  Npy npy;
  Header(text.substr(at, length), static_cast<std::int64_t>(at)).read(npy);
  at += length;
  npy.items = file.subspan(at);
  const std::optional<std::size_t> needed = bytes_needed(npy);
  if (!needed || *needed != npy.items.size()) {
    throw FormatError((needed ? std::to_string(*needed) : "more than 2^63") +
                          " bytes of items are promised, and " + std::to_string(npy.items.size()) +
                          " follow",
                      static_cast<std::int64_t>(at));
  }
  return npy;
}

}  // namespace neap::formats
