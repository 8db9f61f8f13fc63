// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "notes.h"

#include <nlohmann/json.hpp>

#include <string_view>
#include <system_error>

namespace neap::app {
namespace {

constexpr const char* kClasses = "classes";
constexpr std::int64_t kMostNumbers = 1000;

}  // namespace

bool is_snapshot(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path / "snapshot.json", error);
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

void add_names(Notes& notes, const std::vector<std::string>& names, std::int64_t classes) {
  nlohmann::json list = names;
  if (names.empty()) {
    if (classes < 1 || classes > kMostNumbers) return;
    for (std::int64_t one = 0; one < classes; ++one) list.push_back(std::to_string(one));
  }
  // A name that is no UTF-8 is not found again, and says so then.
  notes[kClasses] = list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<std::string> names_in(const Notes& notes) {
  const auto note = notes.find(kClasses);
  if (note == notes.end()) return {};
  const nlohmann::json list = nlohmann::json::parse(note->second, nullptr, false);
  std::vector<std::string> names;
  if (!list.is_array()) return {};
  for (const nlohmann::json& name : list) {
    if (!name.is_string()) return {};
    names.push_back(name.get<std::string>());
  }
  return names;
}

}  // namespace neap::app
