// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Shows the progress of a command. No LibTorch here.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace neap::app {

// Writes to standard error. On a terminal it overwrites one line, at most four times per second,
// and never writes more than the terminal's current width. Elsewhere it writes a whole line for the
// first and the last, and one every ten seconds.
class Progress {
 public:
  // `what` is the thing that is counted up to `total`, such as "step" or "test batch".
  Progress(std::string what, std::int64_t total, bool quiet);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  // ends the line

  // One more is done, of `samples` samples. `figures`: results such as "loss 0.1234", the most
  // important first. On a terminal, those at the end that do not fit are left out, and where there
  // is more room, a bar shows the share that is done.
  void advance(std::int64_t samples, const std::vector<std::string>& figures = {});
  // Writes a separate line for people. Does nothing for an empty text.
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
