// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "training_source.h"

#include <filesystem>
#include <system_error>
#include <utility>

namespace neap::app {
namespace {

// This thread loads each batch when it is needed. What workers hold would count in the budget, so
// their timing would decide whether a step fits and what it replays.
const data::LoaderOptions kInTurn{.workers = 0};

// Calls data::open(). Throws: UsageError when data::open() finds something wrong with the text.
data::Splits open_data(const std::string& spec) {
  std::error_code error;
  if (spec != "fashion-mnist" && spec.find(':') == std::string::npos &&
      !std::filesystem::is_directory(spec, error)) {
    throw Error("--data: " + spec +
                " is not a folder; name one with the four IDX files, or fashion-mnist, "
                "pictures:DIR, csv:FILE, npy:X,Y, cifar10:DIR, cifar100:DIR, text:FILE, "
                "synthetic:3x224x224:1000");
  }
  try {
    return data::open(spec);
  } catch (const InvalidArgument& wrong) {
    throw UsageError(std::string("--data: ") + wrong.what());
  }
}

}  // namespace

TrainingSource::TrainingSource(const TrainingOptions& options, plugin::Definition definition)
    : task_(make_task(options, std::move(definition))),
      batch_size_(task_.batch_size(options.batch_size, kTrainingBatch)),
      seed_(static_cast<std::uint64_t>(options.seed)) {
  check_parts(options.accumulate, batch_size_);
  if (!splits_ && options.steps == 0) {
    throw UsageError("--model " + options.model +
                     " makes its batches itself, without an end; say how many with --steps, or "
                     "name --data");
  }
}

MemoryEfficientDataLoader TrainingSource::test() const {
  return MemoryEfficientDataLoader(splits_->test, batch_size_, kInTurn);
}

void TrainingSource::begin(std::int64_t steps_done) {
  step_ = steps_done;
  if (!splits_) return;
  if (splits_->training->size() < batch_size_) {
    throw UsageError("--batch-size " + std::to_string(batch_size_) + ": " + name_ + " has " +
                     std::to_string(splits_->training->size()) +
                     " training samples; take at most as many");
  }
  // The last, smaller batch is left out, because BatchNorm's statistics of a few samples are noise.
  data::LoaderOptions how = kInTurn;
  how.shuffle = true;
  how.seed = seed_;
  how.drop_last = true;
  loader_.emplace(splits_->training, batch_size_, how);
  if (steps_done == 0) return;
  loader_->restore({.seed = seed_,
                    .epoch = steps_done / loader_->batches(),
                    .position = steps_done % loader_->batches() * batch_size_});
}

std::string TrainingSource::fingerprint() const {
  return splits_ ? data::fingerprint(*splits_->training) : "";
}

train::MicroBatch TrainingSource::next() {
  if (!splits_) return task_.batch_of_step(batch_size_, step_++);
  std::optional<data::Batch> batch = loader_->next();
  if (!batch) batch = loader_->next();
  return {batch->tensors[0], batch->tensors[1]};
}

Task TrainingSource::make_task(const TrainingOptions& options, plugin::Definition definition) {
  if (options.data.empty() && definition.make_batch) {
    return Task::without_data(options, std::move(definition));
  }
  if (options.data.empty() && names_library(options.model)) {
    throw UsageError("--model " + options.model +
                     " makes no batches; name --data, or set make_batch in its definition");
  }
  name_ = options.data.empty() ? "fashion-mnist" : options.data;
  splits_ = open_data(name_);
  return {options, std::move(definition),
          plugin::Samples{splits_->sample_shape, splits_->classes, splits_->vocabulary},
          "--data " + name_};
}

}  // namespace neap::app
