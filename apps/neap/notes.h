// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The notes of a snapshot: how they are called, and numbers and names in them. No LibTorch here.
#pragma once

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {

// The note "split" of a training whose data were split as they are by default, or not at all.
inline constexpr const char* kDefaultSplit = "10%";
// The weights of the best look at the test set, beside the snapshots.
inline constexpr const char* kBestWeights = "best.safetensors";

// Whether the folder is a snapshot by its looks.
bool is_snapshot(const std::filesystem::path& path);
// A name of a file may have any bytes, and a note is UTF-8.
std::string as_text(const std::string& bytes);

using Notes = std::map<std::string, std::string>;
// The classes of a training. Those without names have numbers. Both do nothing where there are more
// than 1,000 without a name.
void add_names(Notes& notes, const std::vector<std::string>& names, std::int64_t classes);
std::vector<std::string> names_in(const Notes& notes);  // empty: there is no such note

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
