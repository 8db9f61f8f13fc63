// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a person or a program reads: lines, JSON, tables, files. No LibTorch here.
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

// Text of any origin, as the label of a trace or the name of a file, fit for a terminal: what would move its cursor or ring its
// bell is written as \x1b.
std::string printable(const std::string& text);

// A line for people on standard error.
void say(const std::string& text);

// Writes lines to standard output and notices when they do not arrive.
class Output {
 public:
  // All throw Error when standard output cannot be written (a full disk, a closed pipe).
  void line(const std::string& text) { this->text(printable(text) + '\n'); }
  void text(const std::string& whole);  // as it is
  template <class Json>
  void json(const Json& object) {
    // Names of files may be any bytes; JSON is UTF-8.
    text(object.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n');
  }
};

// A file that an option names. It is asked for before anything is measured, so that a wrong path costs no minutes; what stood
// there stays until all of the new one is written.
class ReportFile {
 public:
  // An empty path: none. Throws: Error, with option, path and reason, when it cannot be written.
  ReportFile(std::string option, const std::filesystem::path& path);
  // Throws: as above.
  void write(const std::function<void(std::ostream& out)>& content);

 private:
  std::string option_;
  std::unique_ptr<OutputFile> file_;
};

using Row = std::pair<std::string, std::string>;
// Names left, values right, in two columns.
std::string table(const std::vector<Row>& rows);

// printf for one number: format_number("%.1f", x).
std::string format_number(const char* format, double value);

}  // namespace neap::app
