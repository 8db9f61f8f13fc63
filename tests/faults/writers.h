// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/faults/writers.h: what in neap writes files, each with an old state that it
// changes into a new one, and a reader that tells the two apart.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace neap::faults {

struct Writer {
  std::string name;
  std::function<void(const std::filesystem::path& folder)> prepare;  // the old state
  // Throws: Error when it fails; WrongResult when what it has read is not what was written.
  std::function<void(const std::filesystem::path& folder)> act;
  std::function<std::string(const std::filesystem::path& folder)> found;  // all that a reader finds
  // What it writes is no file that is there whole or not at all, but lines that are added.
  bool adds_lines = false;
};

struct WrongResult : std::exception {};

// Before the first one: one thread, since they run in forks.
std::vector<Writer> writers();

// The names of all files below a folder and of what is hidden there, in order. A folder that was
// made for a file that failed may stay.
std::vector<std::string> names_below(const std::filesystem::path& folder);

// A folder in memory where the system has one, for thousands of files.
std::filesystem::path fast_folder();

}  // namespace neap::faults
