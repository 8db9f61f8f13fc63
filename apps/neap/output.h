// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Output for people and programs: lines, JSON, tables, files. No LibTorch here.
#pragma once

#include <neap/machine.h>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace neap::app {

// Makes a text from outside, such as the label of a trace or a file name, safe for a terminal.
// Characters that would move the cursor or ring the bell are written as \x1b.
std::string printable(const std::string& text);

// The text, with U+FFFD for what is not UTF-8. File names may have any bytes.
std::string utf8(std::string_view text);

// Writes a line for people to standard error.
void say(const std::string& text);

// Writes to standard output, and reports when the output cannot be written.
class Output {
 public:
  // All throw Error when standard output cannot be written (a full disk, a closed pipe).
  void line(const std::string& text) { this->text(printable(text) + '\n'); }
  void text(const std::string& whole);  // writes the text unchanged
  template <class Json>
  void json(const Json& object) {
    // File names may have any bytes, but JSON is UTF-8.
    text(object.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n');
  }
};

// A file that an option names. Its path is checked before anything is measured, so that a wrong
// path is reported at once. An older file at the path stays until the new one is complete.
class ReportFile {
 public:
  // An empty path means no file. Throws: Error, with option, path and reason, when the file cannot
  // be written.
  ReportFile(std::string option, const std::filesystem::path& path);
  // Throws: as above.
  void write(const std::function<void(std::ostream& out)>& content);

 private:
  std::string option_;
  std::unique_ptr<OutputFile> file_;
};

// Files of a folder that an option names. Either all of them get their names, or, where one cannot
// be written, none does. A file that has another name stays.
class ReportFolder {
 public:
  // Makes the folder where there is none. Throws: Error, with option, path and reason, when it is
  // no folder or cannot be made.
  ReportFolder(std::string option, std::filesystem::path folder);
  ReportFolder(const ReportFolder&) = delete;
  ReportFolder& operator=(const ReportFolder&) = delete;
  // Without finish(), the folders that it has made go.
  ~ReportFolder();
  // `name`: below the folder; the folders in it are made. Throws: as ReportFile.
  void add(const std::filesystem::path& name, std::string_view content);
  void finish();

 private:
  void make(const std::filesystem::path& folder);

  std::string option_;
  std::filesystem::path folder_;
  std::vector<std::filesystem::path> made_;  // folders, the outermost first
  std::vector<std::unique_ptr<OutputFile>> files_;
};

using Row = std::pair<std::string, std::string>;
// Two columns: names to the left, values to the right.
std::string table(const std::vector<Row>& rows);

// printf for one number: format_number("%.1f", x).
std::string format_number(const char* format, double value);
// A time of the tables, by its nanoseconds: "1.234 ms".
std::string milliseconds(std::int64_t ns);
// Null for an empty text.
nlohmann::json text_or_null(const std::string& text);
// All digits, so that two texts are the same only when the numbers are.
std::string exact(double value);

}  // namespace neap::app
