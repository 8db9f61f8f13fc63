// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/no_memory/scenarios.h: what neap does while the system has no memory.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace neap::no_memory {

struct Scenario {
  std::string name;
  std::function<void(const std::filesystem::path& folder)> prepare;  // the old state
  // Returns what came of it, in few bytes. The memory fails in here alone.
  std::function<std::string(const std::filesystem::path& folder)> act;
  // All that a reader finds in the folder afterwards.
  std::function<std::string(const std::filesystem::path& folder)> found;
  // All that is there once the next try has done its work.
  std::function<std::string(const std::filesystem::path& folder)> left = found;
  // It takes memory for itself alone. LibTorch and others keep some for the next time.
  bool gives_all_back = false;
  // Its act looks at the engine when it has failed, inside of the scope, and calls looked().
  bool looks = false;
};

void looked();

// Of files that others wrote.
std::vector<Scenario> readers();
// What takes no tensors: plans, and files that are written.
std::vector<Scenario> planners_and_writers();
// Snapshots, and steps inside of a budget.
std::vector<Scenario> trainings();

// The names of all files below a folder, in order, with the hash of each one's bytes.
std::string files_below(const std::filesystem::path& folder);

}  // namespace neap::no_memory
