// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Output for people and programs: lines, JSON, tables, files. No LibTorch here.
#pragma once

#include <neap/machine.h>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace neap::app {

// Makes a text from outside, such as the label of a trace or a file name, safe for a terminal.
// Characters that would move the cursor or ring the bell are written as \x1b.
std::string printable(const std::string& text);

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

using Row = std::pair<std::string, std::string>;
// Two columns: names to the left, values to the right.
std::string table(const std::vector<Row>& rows);

// printf for one number: format_number("%.1f", x).
std::string format_number(const char* format, double value);
// All digits, so that two texts are the same only when the numbers are.
std::string exact(double value);

}  // namespace neap::app
