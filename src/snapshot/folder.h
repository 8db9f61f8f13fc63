// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// snapshot/folder.h: the folder of a run, and how a snapshot appears in it at once or not at all.
//
// A snapshot is written into a hidden folder, .step-N.new, and renamed when it is whole. One of the
// same step exchanges its name with it, or is renamed to .step-N.old before where the file system
// cannot exchange names. One that is removed, under either name, is renamed to .step-N.gone before.
// So what bears the name of a snapshot is whole, and .step-N.old too, whenever the program is
// killed. What a killed program has left is put back or removed by the next one that saves. A lock
// on the folder lets one program save at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace neap::snapshot {

// The step that a snapshot is called by; nullopt: the path has no name of a snapshot.
std::optional<std::int64_t> step_of(const std::filesystem::path& snapshot);

// AlsoReplaced: also .step-N.old where a program was killed before the new one got the name.
enum class Which : std::uint8_t { Named, AlsoReplaced };
// The snapshots in a folder, the newest first; empty when the folder is missing.
// Throws: Error when it cannot be read.
std::vector<std::filesystem::path> snapshots_in(const std::filesystem::path& folder,
                                                Which which = Which::Named);

class NewSnapshot {
 public:
  // Makes `folder` when it is missing, and locks it. Throws: Error, with the path and the reason;
  // when another program saves into it.
  NewSnapshot(std::filesystem::path folder, std::int64_t step);
  NewSnapshot(const NewSnapshot&) = delete;
  NewSnapshot& operator=(const NewSnapshot&) = delete;
  // Without commit(), nothing is left of it.
  ~NewSnapshot();

  // Where its files go.
  [[nodiscard]] const std::filesystem::path& path() const { return hidden_; }
  // Gives it its name, and returns that. A snapshot of the same step goes.
  std::filesystem::path commit();
  // After commit(): removes what is older than the newest `keep`, of which it is the first; 0:
  // nothing. What cannot be removed stays.
  void remove_older(std::int64_t keep) const;

 private:
  void lock();
  void tidy() const;

  std::filesystem::path folder_;
  std::filesystem::path name_;
  std::filesystem::path hidden_;
  std::filesystem::path old_;
  int lock_ = -1;
};

}  // namespace neap::snapshot
