// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a training learns from: a data set, or batches that a library makes without end.
#pragma once

#include "job.h"

#include <neap/data.h>

#include <cstdint>
#include <optional>
#include <string>

namespace neap::app {

class TrainingSource {
 public:
  // Throws: Error and UsageError for --data, as Task; UsageError when it is not said how many steps are wanted.
  TrainingSource(const TrainingOptions& options, plugin::Definition definition);

  [[nodiscard]] const Task& task() const { return task_; }
  [[nodiscard]] bool has_test() const { return splits_.has_value(); }
  [[nodiscard]] MemoryEfficientDataLoader test() const;

  // From the first batch of the first epoch on. Throws: UsageError when there are fewer samples than a batch has.
  void begin();
  // Of an epoch of the data set, after begin().
  [[nodiscard]] std::int64_t batches() const { return loader_->batches(); }
  // Epochs follow each other.
  train::MicroBatch next();

 private:
  Task make_task(const TrainingOptions& options, plugin::Definition definition);

  std::optional<data::Splits> splits_;
  std::string name_;  // of the data set
  Task task_;         // below these two: make_task() sets them
  std::int64_t batch_size_;
  std::uint64_t seed_;
  std::int64_t step_ = 0;
  std::optional<MemoryEfficientDataLoader> loader_;
};

}  // namespace neap::app
