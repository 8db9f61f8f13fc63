// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/support/xml.h: whether a text is well-formed XML, for the pictures that neap writes.
#pragma once

#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace neap::test {

// What is wrong with `text`, with the offset; empty if nothing is. Knows what a plot uses: a
// declaration, elements, attributes in double quotes, text and the five entities.
inline std::string xml_error(std::string_view text) {
  const std::string_view whole = text;
  const auto error = [&](std::string_view at, const std::string& what) {
    return what + " at offset " + std::to_string(at.data() - whole.data());
  };
  const auto wrong_characters = [&](std::string_view characters) -> std::string {
    for (std::size_t i = 0; i < characters.size(); ++i) {
      const auto byte = static_cast<unsigned char>(characters[i]);
      if (byte < 0x20 && byte != '\n') return error(characters.substr(i), "a control character");
      if (byte == '<' || byte == '"') return error(characters.substr(i), "a bare character");
      if (byte != '&') continue;
      const std::string_view rest = characters.substr(i);
      bool known = false;
      for (const char* entity : {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"}) {
        known = known || rest.starts_with(entity);
      }
      if (!known) return error(rest, "an ampersand that starts no entity");
    }
    return "";
  };
  if (text.starts_with("<?xml ")) text.remove_prefix(text.find("?>") + 2);
  std::vector<std::string> open;
  bool any = false;
  while (true) {
    const std::size_t tag = text.find('<');
    const std::string_view between = text.substr(0, tag);
    if (open.empty() && between.find_first_not_of('\n') != std::string_view::npos) {
      return error(text, "text outside of the element");
    }
    if (std::string wrong = wrong_characters(between); !wrong.empty()) return wrong;
    if (tag == std::string_view::npos) break;
    text.remove_prefix(tag + 1);
    const bool closing = text.starts_with('/');
    if (closing) text.remove_prefix(1);
    std::size_t length = 0;
    while (length < text.size() && std::isalnum(static_cast<unsigned char>(text[length])) != 0)
      ++length;
    const std::string name(text.substr(0, length));
    if (name.empty()) return error(text, "an element without a name");
    text.remove_prefix(length);
    while (text.starts_with(' ')) {
      text.remove_prefix(1);
      const std::size_t equals = text.find("=\"");
      const std::size_t end = text.find('"', equals + 2);
      if (equals == std::string_view::npos || end == std::string_view::npos) {
        return error(text, "an attribute without a value");
      }
      const std::string_view value = text.substr(equals + 2, end - equals - 2);
      if (std::string wrong = wrong_characters(value); !wrong.empty()) return wrong;
      text.remove_prefix(end + 1);
    }
    const bool empty = text.starts_with("/>");
    if (!empty && !text.starts_with('>')) return error(text, "a tag that does not end");
    text.remove_prefix(empty ? 2 : 1);
    if (closing) {
      if (open.empty() || open.back() != name)
        return error(text, "the end of " + name + " out of place");
      open.pop_back();
    } else {
      if (open.empty() && any) return error(text, "a second root");
      any = true;
      if (!empty) open.push_back(name);
    }
  }
  if (!open.empty()) return open.back() + " does not end";
  return any ? "" : "no element";
}

}  // namespace neap::test
