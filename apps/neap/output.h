// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a person or a program reads: progress, JSON lines, the table at the end. No LibTorch here.
#pragma once

#include <neap/base.h>

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace neap::app {

// Writes lines to standard output and notices when they do not arrive.
class Output {
 public:
  // All throw Error when standard output cannot be written (a full disk, a closed pipe).
  void line(const std::string& text) { this->text(text + '\n'); }
  void text(const std::string& whole);
  void json(const nlohmann::json& object) { line(object.dump()); }
};

// Of a command under way, on standard error: one line that is written over on a terminal, a line now and then elsewhere.
class Progress {
 public:
  // `what`: is counted up to `total`, as "step" or "test batch".
  Progress(std::string what, std::int64_t total, bool quiet);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  // leaves the line

  // One more is done, of so many samples. `figures`: of it, as "loss 0.1234", the most important first.
  void advance(std::int64_t samples, const std::vector<std::string>& figures = {});
  // A line of its own for people; an empty text is none.
  void note(const std::string& text);

 private:
  std::string what_;
  std::int64_t total_;
  std::int64_t done_ = 0;
  bool quiet_;
  bool terminal_;
  bool open_ = false;
  std::int64_t samples_ = 0;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point shown_;
};

// A file that an option names. It is opened before anything is measured, so that a wrong path costs no minutes; what it held
// stays until write(), and a file that was not there goes again without one.
class ReportFile {
 public:
  // An empty path: none. Throws: Error, with option, path and reason, when it cannot be written.
  ReportFile(std::string option, std::filesystem::path path);
  ReportFile(const ReportFile&) = delete;
  ReportFile& operator=(const ReportFile&) = delete;
  ~ReportFile();
  // Throws: as above.
  void write(const std::function<void(std::ostream& out)>& content);

 private:
  void check(const std::ofstream& file) const;

  std::string option_;
  std::filesystem::path path_;
  bool made_ = false;  // by the constructor, and nothing was written yet
};

using Row = std::pair<std::string, std::string>;
// Names left, values right, in two columns.
std::string table(const std::vector<Row>& rows);

// printf for one number: format_number("%.1f", x).
std::string format_number(const char* format, double value);

}  // namespace neap::app
