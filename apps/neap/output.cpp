// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "output.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace neap::app {
namespace {

std::string duration(double seconds) {
  std::array<char, 32> text{};
  const auto whole = static_cast<long long>(seconds);
  if (whole >= 3600) {
    std::snprintf(text.data(), text.size(), "%lldh%02lldm", whole / 3600, whole / 60 % 60);
  } else {
    std::snprintf(text.data(), text.size(), "%lldm%02llds", whole / 60, whole % 60);
  }
  return text.data();
}

}  // namespace

void Output::text(const std::string& whole) {
  errno = 0;
  if (std::fwrite(whole.data(), 1, whole.size(), stdout) != whole.size() ||
      std::fflush(stdout) != 0) {
    throw Error(std::string("standard output cannot be written: ") + std::strerror(errno) +
                "; free the disk, or send the output elsewhere");
  }
}

ReportFile::ReportFile(std::string option, std::filesystem::path path)
    : option_(std::move(option)), path_(std::move(path)) {
  if (path_.empty()) return;
  const bool was_there = std::filesystem::exists(path_);
  errno = 0;
  const std::ofstream file(path_, std::ios::binary | std::ios::app);
  check(file);
  made_ = !was_there;
}

ReportFile::~ReportFile() {
  std::error_code ignored;
  if (made_) std::filesystem::remove(path_, ignored);
}

void ReportFile::write(const std::function<void(std::ostream& out)>& content) {
  if (path_.empty()) return;
  errno = 0;
  std::ofstream file(path_, std::ios::binary | std::ios::trunc);
  check(file);
  content(file);
  file.close();
  check(file);
  made_ = false;
}

void ReportFile::check(const std::ofstream& file) const {
  if (file) return;
  throw Error(option_ + ": " + path_.string() + " cannot be written: " + std::strerror(errno) +
              "; name a file in a folder that you may write to");
}

Progress::Progress(std::string what, std::int64_t total, bool quiet)
    : what_(std::move(what)),
      total_(total),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()),
      shown_(start_) {}

Progress::~Progress() {
  if (open_) std::fputc('\n', stderr);
}

void Progress::note(const std::string& text) {
  if (quiet_ || text.empty()) return;
  if (std::exchange(open_, false)) std::fputc('\n', stderr);
  std::fprintf(stderr, "%s\n", text.c_str());
}

void Progress::advance(std::int64_t samples, const std::vector<std::string>& figures) {
  ++done_;
  samples_ += samples;
  if (quiet_) return;
  const auto now = std::chrono::steady_clock::now();
  const auto interval = terminal_ ? std::chrono::milliseconds(200) : std::chrono::seconds(10);
  if (done_ > 1 && done_ < total_ && now - shown_ < interval) return;
  shown_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double left = seconds / static_cast<double>(done_) * static_cast<double>(total_ - done_);
  std::string text =
      what_ + ' ' + std::to_string(done_) + '/' + std::to_string(total_) + "  " +
      format_number("%.0f", static_cast<double>(samples_) / std::max(seconds, 1e-9)) +
      " samples/s  " + duration(left) + " left";
  for (const std::string& figure : figures) text += "  " + figure;
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
    open_ = true;
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
  std::fflush(stderr);
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

}  // namespace neap::app
