// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "notes.h"

#include <nlohmann/json.hpp>

#include <string_view>
#include <system_error>

namespace neap::app {
namespace {

constexpr std::int64_t kMostNumbers = 1000;

namespace fs = std::filesystem;

bool is_run(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / kRecord, error)) return true;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (is_snapshot(entry.path())) return true;
  }
  return false;
}

}  // namespace

bool is_snapshot(const fs::path& path) {
  std::error_code error;
  return fs::exists(path / "snapshot.json", error);
}

void refuse_run_file(const std::string& out) {
  std::error_code error;
  const fs::path file = fs::weakly_canonical(fs::absolute(out, error), error);
  const fs::path folder = file.parent_path();
  if (is_snapshot(folder)) {
    throw UsageError("-o " + out + " is in the saved state " + folder.string() +
                     ", which another file would damage; name a file elsewhere");
  }
  const bool is_of_run = file.filename() == kRecord || file.filename() == kBestWeights;
  if (is_of_run && is_run(folder)) {
    throw UsageError("-o " + out + " is a file of the training in " + folder.string() +
                     ", and would be lost; name another file");
  }
}

std::string as_text(const std::string& bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char one : bytes) {
    const auto byte = static_cast<unsigned char>(one);
    if (byte < 0x80 && one != '\\') {
      text += one;
    } else {
      text += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return text;
}

void add_names(Notes& notes, const char* name, const std::vector<std::string>& names) {
  if (names.empty()) return;
  // A name that is no UTF-8 is not found again, and says so then.
  notes[name] =
      nlohmann::json(names).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void add_classes(Notes& notes, std::vector<std::string> names, std::int64_t classes) {
  if (names.empty() && classes <= kMostNumbers) {
    for (std::int64_t one = 0; one < classes; ++one) names.push_back(std::to_string(one));
  }
  add_names(notes, kClasses, names);
}

std::vector<std::string> names_in(const Notes& notes, const char* name) {
  const auto note = notes.find(name);
  if (note == notes.end()) return {};
  const nlohmann::json list = nlohmann::json::parse(note->second, nullptr, false);
  std::vector<std::string> names;
  if (!list.is_array()) return {};
  for (const nlohmann::json& one : list) {
    if (!one.is_string()) return {};
    names.push_back(one.get<std::string>());
  }
  return names;
}

}  // namespace neap::app
