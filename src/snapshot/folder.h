// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// snapshot/folder.h: the folder of a run, and how a snapshot appears in it at once or not at all.
//
// A snapshot is written into a hidden folder, .step-N.new-PID, and renamed when it is whole. An
// old one is renamed to .step-N.old-PID before it is removed. So what bears the name of a snapshot
// is whole, whenever the program is killed. Hidden folders that a killed program has left are
// removed by the next one that saves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace neap::snapshot {

// The snapshots in a folder, the newest first; empty when the folder is missing.
// Throws: Error when it cannot be read.
std::vector<std::filesystem::path> snapshots_in(const std::filesystem::path& folder);

class NewSnapshot {
 public:
  // Makes `folder` when it is missing, removes what a killed program left in it, and makes the
  // hidden folder. Throws: Error, with the path and the reason.
  NewSnapshot(const std::filesystem::path& folder, std::int64_t step);
  NewSnapshot(const NewSnapshot&) = delete;
  NewSnapshot& operator=(const NewSnapshot&) = delete;
  // Without commit(), nothing is left of it.
  ~NewSnapshot();

  // Where its files go.
  [[nodiscard]] const std::filesystem::path& path() const { return hidden_; }
  // Gives it its name, and returns that. A snapshot of the same step goes.
  std::filesystem::path commit();

 private:
  std::filesystem::path folder_;
  std::filesystem::path hidden_;
  std::filesystem::path name_;
};

// Removes all but the newest `keep`; 0: none. What cannot be removed stays.
void remove_older(const std::filesystem::path& folder, std::int64_t keep);

}  // namespace neap::snapshot
