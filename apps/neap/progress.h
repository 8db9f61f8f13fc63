// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// How far a command is. No LibTorch here.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace neap::app {

// On standard error. On a terminal one line that is written over, four times a second at most, never longer than the terminal is
// wide at that moment; elsewhere a whole line for the first and the last, and each ten seconds.
class Progress {
 public:
  // `what` is counted up to `total`: "step", "test batch".
  Progress(std::string what, std::int64_t total, bool quiet);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  // leaves the line

  // One more is done, of so many samples. `figures`: of it, as "loss 0.1234", the most important first: what does not fit a
  // terminal is left out from the end.
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

}  // namespace neap::app
