// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "output.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <sstream>
#include <system_error>

namespace neap::app {

std::string printable(const std::string& text) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are control characters too. For example, U+009B does the same as ESC [.
    const bool of_two = byte == 0xC2 && i + 1 < text.size() &&
                        static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                        static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if ((byte >= 0x20 && byte != 0x7F && !of_two) || byte == '\n' || byte == '\t') {
      out += text[i];
      continue;
    }
    const auto shown = of_two ? static_cast<unsigned char>(text[++i]) : byte;
    out += "\\x";
    out += kDigits[shown >> 4];
    out += kDigits[shown & 15];
  }
  return out;
}

std::string utf8(std::string_view text) {
  // Only dump() can replace bytes.
  using nlohmann::json;
  const std::string quoted = json(text).dump(-1, ' ', false, json::error_handler_t::replace);
  return json::parse(quoted).get<std::string>();
}

void say(const std::string& text) { std::fprintf(stderr, "%s\n", printable(text).c_str()); }

void Output::text(const std::string& whole) {
  errno = 0;
  if (std::fwrite(whole.data(), 1, whole.size(), stdout) != whole.size() ||
      std::fflush(stdout) != 0) {
    throw Error("standard output cannot be written: " + machine::why_not_written(errno));
  }
}

ReportFile::ReportFile(std::string option, const std::filesystem::path& path)
    : option_(std::move(option)) {
  if (path.empty()) return;
  try {
    file_ = std::make_unique<OutputFile>(path);
  } catch (const Error& error) {
    throw Error(option_ + ": " + error.what());
  }
}

void ReportFile::write(const std::function<void(std::ostream& out)>& content) {
  if (!file_) return;
  std::ostringstream text;
  text.exceptions(std::ios::badbit);  // else a text that found no memory would be cut short
  content(text);
  try {
    file_->append(text.view());
    file_->finish();
  } catch (const Error& error) {
    throw Error(option_ + ": " + error.what());
  }
}

ReportFolder::ReportFolder(std::string option, std::filesystem::path folder)
    : option_(std::move(option)), folder_(std::move(folder)) {
  make(folder_);
}

ReportFolder::~ReportFolder() {
  files_.clear();
  std::error_code ignored;  // a folder that is not empty stays
  for (; !made_.empty(); made_.pop_back()) std::filesystem::remove(made_.back(), ignored);
}

void ReportFolder::make(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> missing;
  std::filesystem::path at = std::filesystem::absolute(folder).lexically_normal();
  if (!at.has_filename()) at = at.parent_path();  // of `out/`
  std::error_code error;
  for (; !std::filesystem::exists(at, error) && at.has_relative_path(); at = at.parent_path()) {
    missing.push_back(at);
  }
  if (!std::filesystem::is_directory(at, error)) {
    throw Error(option_ + ": " + folder.string() + ": " + at.string() +
                " is no folder; this format has several files, so name a folder for them");
  }
  for (; !missing.empty(); missing.pop_back()) {
    if (std::filesystem::create_directory(missing.back(), error)) {
      made_.push_back(missing.back());
    } else if (error) {
      throw Error(option_ + ": " + missing.back().string() +
                  ": the folder cannot be made: " + error.message());
    }
  }
}

void ReportFolder::add(const std::filesystem::path& name, std::string_view content) {
  const std::filesystem::path path = folder_ / name;
  make(path.parent_path());
  try {
    files_.push_back(std::make_unique<OutputFile>(path));
    files_.back()->append(content);
  } catch (const Error& error) {
    throw Error(option_ + ": " + error.what());
  }
}

void ReportFolder::finish() {
  try {
    for (const std::unique_ptr<OutputFile>& file : files_) file->finish();
  } catch (const Error& error) {
    throw Error(option_ + ": " + error.what());
  }
  made_.clear();
  files_.clear();
}

std::string table(const std::vector<Row>& rows) {
  std::size_t names = 0;
  std::size_t values = 0;
  for (const auto& [name, value] : rows) {
    names = std::max(names, name.size());
    values = std::max(values, value.size());
  }
  std::string text;
  for (const auto& [name, value] : rows) {
    if (!text.empty()) text += '\n';
    text += "  " + name + std::string(names - name.size() + 2, ' ') +
            std::string(values - value.size(), ' ') + value;
  }
  return text;
}

std::string format_number(const char* format, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string milliseconds(std::int64_t ns) {
  return format_number("%.3f ms", static_cast<double>(ns) / 1e6);
}

nlohmann::json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
}

std::string exact(double value) {
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  return {digits.data(), end};
}

}  // namespace neap::app
