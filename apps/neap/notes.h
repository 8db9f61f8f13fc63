// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Numbers in the notes of a snapshot.
#pragma once

#include <charconv>
#include <map>
#include <optional>
#include <string>

namespace neap::app {

// Nullopt: there is no such note, or it is no number.
template <class Number>
std::optional<Number> number_in(const std::map<std::string, std::string>& notes, const char* name) {
  const auto note = notes.find(name);
  if (note == notes.end()) return std::nullopt;
  Number number{};
  const std::string& text = note->second;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end ? std::optional(number) : std::nullopt;
}

}  // namespace neap::app
