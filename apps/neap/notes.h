// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The notes of a snapshot: how they are called, and numbers and names in them. No LibTorch here.
#pragma once

#include "command_line.h"

#include <array>
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
// A line for each step, beside the snapshots.
inline constexpr const char* kRecord = "run.jsonl";
// The notes of the names of classes, and of the features of a table, in their order.
inline constexpr const char* kClasses = "classes";
inline constexpr const char* kColumns = "columns";

// A size that models have, as its note is called, and where the options have it.
struct NamedSize {
  const char* name;
  std::optional<std::int64_t>& (*of)(TrainingOptions& options);
};
inline constexpr std::array kSizes{
    NamedSize{"layers", [](TrainingOptions& options) -> auto& {return options.sizes.layers;
}  // namespace neap::app
}
, NamedSize{"blocks", [](TrainingOptions& options) -> auto& {return options.sizes.blocks;
}
}
, NamedSize{"width", [](TrainingOptions& options) -> auto& {return options.sizes.width;
}
}
, NamedSize{"heads", [](TrainingOptions& options) -> auto& {return options.sizes.heads;
}
}
, NamedSize {
  "context", [](TrainingOptions & options) -> auto& { return options.context; }
}
}
;
inline constexpr std::int64_t kDefaultContext = 256;  // of data::open()

// Whether the folder is a snapshot by its looks.
bool is_snapshot(const std::filesystem::path& path);
// Throws: UsageError when -o names a file in a snapshot, or the record or the best weights of a
// training.
void refuse_run_file(const std::string& out);
// A name of a file may have any bytes, and a note is UTF-8.
std::string as_text(const std::string& bytes);

using Notes = std::map<std::string, std::string>;
// Does nothing where there are no names.
void add_names(Notes& notes, const char* name, const std::vector<std::string>& names);
// The classes of a training. Those without names have numbers, unless there are more than 1,000.
void add_classes(Notes& notes, std::vector<std::string> names, std::int64_t classes);
// Empty: there is no such note.
std::vector<std::string> names_in(const Notes& notes, const char* name);

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
