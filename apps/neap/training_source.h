// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a training learns from: a data set, or an endless sequence of batches from a library.
#pragma once

#include "job.h"

#include <neap/data.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {

class TrainingSource {
 public:
  // Throws: Error and UsageError for --data, as Task does; UsageError when the number of steps is
  // needed and not given.
  TrainingSource(const TrainingOptions& options, plugin::Definition definition);

  [[nodiscard]] const Task& task() const { return task_; }
  [[nodiscard]] std::int64_t batch_size() const { return batch_size_; }
  // For people: the value of --data, or what stands for it.
  [[nodiscard]] const std::string& name() const { return name_; }
  // Of some samples of the training set, as text; empty: there is none.
  [[nodiscard]] std::string fingerprint() const;
  // How the data were split, scaled and changed, by names for people, with texts for the options.
  [[nodiscard]] std::map<std::string, std::string> preparation() const;
  // For people, from data::open().
  [[nodiscard]] std::vector<std::string> notes() const {
    return splits_ ? splits_->notes : std::vector<std::string>();
  }
  // Of the training set; nullopt: the model makes its batches, without an end.
  [[nodiscard]] std::optional<std::int64_t> samples() const {
    return splits_ ? std::optional(splits_->training->size()) : std::nullopt;
  }
  // Null: the model makes its batches.
  [[nodiscard]] const data::Splits* splits() const { return splits_ ? &*splits_ : nullptr; }
  [[nodiscard]] bool has_test() const { return splits_.has_value(); }
  [[nodiscard]] MemoryEfficientDataLoader test() const;

  // Begins with the first batch of the first epoch, or as many steps later. Throws: UsageError when
  // there are fewer samples than a batch needs.
  void begin(std::int64_t steps_done = 0);
  // Batches per epoch of the data set. REQUIRES: begin() was called.
  [[nodiscard]] std::int64_t batches() const { return loader_->batches(); }
  // The next batch. After an epoch comes the next one.
  train::MicroBatch next();

 private:
  Task make_task(const TrainingOptions& options, plugin::Definition definition);

  std::optional<data::Splits> splits_;
  std::string name_;  // of the data set
  Task task_;         // declared after these two, because make_task() sets them
  std::int64_t batch_size_;
  std::uint64_t seed_;
  data::Augmentation augmentation_;
  std::optional<double> split_;  // percent
  std::int64_t step_ = 0;
  std::optional<MemoryEfficientDataLoader> loader_;
};

}  // namespace neap::app
