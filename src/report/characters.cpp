// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "report/characters.h"

namespace neap::report {
namespace {

// The length of the first character of `text`, in bytes; 0 when it is not UTF-8. REQUIRES: text is
// not empty.
std::size_t character_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  // 0xC0 and 0xC1 would only be overlong forms of one byte.
  const std::size_t count = first >= 0xC2 && first < 0xE0   ? 2
                            : first >= 0xE0 && first < 0xF0 ? 3
                            : first >= 0xF0 && first < 0xF5 ? 4
                                                            : 0;
  if (count == 0 || text.size() < count) return 0;
  for (std::size_t i = 1; i < count; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  const bool too_long = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second >= 0xA0;
  const bool too_large = first == 0xF4 && second >= 0x90;
  return too_long || surrogate || too_large ? 0 : count;
}

}  // namespace

std::size_t width_of(std::string_view text) {
  std::size_t width = 0;
  for (; !text.empty(); ++width) {
    const std::size_t bytes = character_bytes(text);
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  return width;
}

std::string xml_text(std::string_view text) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  std::string result;
  while (!text.empty()) {
    const std::size_t bytes = character_bytes(text);
    const char first = text.front();
    if (bytes == 0 || (bytes == 1 && static_cast<unsigned char>(first) < 0x20)) {
      result += first == '\n' || first == '\t' ? std::string_view(" ") : kReplacement;
    } else if (first == '&') {
      result += "&amp;";
    } else if (first == '<') {
      result += "&lt;";
    } else if (first == '>') {
      result += "&gt;";
    } else if (first == '"') {
      result += "&quot;";
    } else {
      // UTF-8 can encode U+FFFE and U+FFFF, but XML does not allow them.
      const std::string_view character = text.substr(0, bytes);
      result +=
          character == "\xEF\xBF\xBE" || character == "\xEF\xBF\xBF" ? kReplacement : character;
    }
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  return result;
}

}  // namespace neap::report
