// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The snapshots of neap train: --out, --save-every, --keep and --resume.
#pragma once

#include "job.h"
#include "save_interval.h"
#include "training_source.h"
#include "weights.h"

#include <neap/snapshot.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap::app {

// The batch size of the training that --resume goes on from; nullopt: there is none.
std::optional<std::int64_t> saved_batch_size(const TrainingOptions& options);

class RunFolder {
 public:
  // Finds the snapshot to go on from.
  // Throws: UsageError when the options do not go together; Error when --resume DIR names a folder
  // without a snapshot, or one of another training; when --out names one that has snapshots and is
  // not resumed; when it cannot be written.
  RunFolder(const TrainingOptions& options, const TrainingSource& source);

  // For people: what it has found. Empty: nothing.
  [[nodiscard]] const std::vector<std::string>& notes() const { return said_; }
  // Empty: there is none.
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  // What must be the same to go on, by its name for people.
  [[nodiscard]] const std::map<std::string, std::string>& settings() const { return training_; }
  // The training goes on in the folder that it began in.
  [[nodiscard]] bool goes_on_here() const { return found_ && from_here_; }
  // Steps that are done already.
  [[nodiscard]] std::int64_t steps_done() const { return found_ ? position_.step : 0; }
  // Puts the snapshot that was found into the job. Of one that neap import has made, the weights.
  // Throws: also Error where another machine goes on, and that is not allowed.
  void load(Job& job) const;
  // Saves weights that are of no training, for each training to begin with. Returns the snapshot.
  [[nodiscard]] std::filesystem::path save_imported(const Job& job, const FoundWeights& from) const;
  // For people: after which steps another machine went on, with which difference; empty: none.
  [[nodiscard]] std::string other_bits() const;
  // The training has so many steps in all. Returns what people are to know about that; empty:
  // nothing.
  std::string set_steps(std::int64_t total);
  // Saves, if it is time to. Returns why it could not; empty: it could.
  std::string after_step(const Job& job, std::int64_t step);
  // Saves, unless this step was saved with these notes. Returns the snapshot; empty without --out.
  std::filesystem::path save(const Job& job, std::int64_t step);
  // Keeps the weights as best.safetensors, beside the snapshots. Returns why it could not; empty:
  // it could. REQUIRES: there is a folder.
  [[nodiscard]] std::string save_best(const Job& job) const;
  // Notes that each later snapshot has beside the settings. Without it, those of the snapshot that
  // the training goes on from here.
  void set_found_so_far(std::map<std::string, std::string> notes) {
    notes_are_saved_ = notes_are_saved_ && notes == found_so_far_;
    found_so_far_ = std::move(notes);
  }
  // Of the snapshot that the training goes on from.
  [[nodiscard]] const std::map<std::string, std::string>& notes_of_snapshot() const {
    return position_.notes;
  }
  // The newest snapshot, and how to go on from it; empty: there is none.
  [[nodiscard]] std::string how_to_go_on() const;

 private:
  void find(const std::optional<std::string>& resume);
  void require_empty() const;
  void check_writable() const;
  void check_same_training() const;

  std::filesystem::path folder_;
  SaveInterval interval_;
  std::int64_t keep_;
  train::LoadOptions allowed_;
  std::map<std::string, std::string> training_;  // what must be the same to go on
  std::map<std::string, std::string> beside_;    // notes that need not be the same
  std::map<std::string, std::string> found_so_far_;
  bool notes_are_saved_ = true;  // with saved_step_
  std::int64_t steps_ = 0;       // in all
  std::optional<std::filesystem::path> found_;
  bool from_here_ = false;    // it is in folder_
  bool is_imported_ = false;  // it is of no training
  train::Position position_;
  std::vector<std::string> said_;
  std::optional<std::int64_t> saved_step_;
  std::filesystem::path newest_;
  std::chrono::steady_clock::time_point saved_at_ = std::chrono::steady_clock::now();
};

}  // namespace neap::app
