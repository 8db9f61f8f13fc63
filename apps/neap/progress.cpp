// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "progress.h"

#include "output.h"
#include "terminal.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

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

constexpr std::size_t kShortestBar = 10, kLongestBar = 30;

// "[####------]", of so many columns.
std::string bar(double share, std::size_t columns) {
  const std::size_t inside = columns - 2;
  const auto done = std::min(inside, static_cast<std::size_t>(share * static_cast<double>(inside)));
  return '[' + std::string(done, '#') + std::string(inside - done, '-') + ']';
}

// Leaves the last column free, because some terminals begin a new line there. Where there is room
// for more than the parts, a bar stands after the first one.
std::string fitting(const std::vector<std::string>& parts, double share, std::size_t columns) {
  const std::size_t most = columns - 1;
  std::size_t used = 0, fit = 0;
  for (; fit < parts.size(); ++fit) {
    const std::size_t next = used + (fit == 0 ? 0 : 2) + parts[fit].size();
    if (next > most) break;
    used = next;
  }
  if (fit == 0) return parts[0].substr(0, most);
  std::string text = parts[0];
  if (fit == parts.size() && used + 2 + kShortestBar <= most) {
    text += "  " + bar(share, std::min(most - used - 2, kLongestBar));
  }
  for (std::size_t i = 1; i < fit; ++i) text += "  " + parts[i];
  return text;
}

// For files: all parts.
std::string joined(const std::vector<std::string>& parts) {
  std::string text = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) text += "  " + parts[i];
  return text;
}

}  // namespace

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
  say(text);
}

void Progress::advance(std::int64_t samples, const std::vector<std::string>& figures) {
  ++done_;
  samples_ += samples;
  if (quiet_) return;
  const auto now = std::chrono::steady_clock::now();
  const auto interval = terminal_ ? std::chrono::milliseconds(250) : std::chrono::seconds(10);
  if (done_ > 1 && done_ < total_ && now - shown_ < interval) return;
  shown_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double left = seconds / static_cast<double>(done_) * static_cast<double>(total_ - done_);
  std::vector<std::string> parts{what_ + ' ' + std::to_string(done_) + '/' + std::to_string(total_),
                                 duration(left) + " left"};
  parts.insert(parts.end(), figures.begin(), figures.end());
  const double speed = static_cast<double>(samples_) / std::max(seconds, 1e-9);
  parts.insert(parts.begin() + (figures.empty() ? 2 : 3), format_number("%.0f samples/s", speed));
  if (terminal_) {
    const double share = static_cast<double>(done_) / static_cast<double>(std::max(done_, total_));
    std::fprintf(stderr, "\r\033[K%s", fitting(parts, share, columns_of(STDERR_FILENO)).c_str());
    open_ = true;
  } else {
    say(joined(parts));
  }
  std::fflush(stderr);
}

}  // namespace neap::app
