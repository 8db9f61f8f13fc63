// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "training_source.h"

#include "data_options.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

namespace neap::app {
namespace {

// This thread loads each batch when it is needed. What workers hold would count in the budget, so
// their timing would decide whether a step fits and what it replays.
const data::LoaderOptions kInTurn{.workers = 0};

// Calls data::open(). Throws: UsageError when data::open() finds something wrong with the text;
// Error when it names a folder that is missing, since the command is right then.
data::Splits open_data(const std::string& spec, const TrainingOptions& options) {
  if (options.context && !spec.starts_with("text:")) {
    throw UsageError("--context " + std::to_string(*options.context) +
                     " is for rows of tokens, and --data " + spec +
                     " has none; leave it out, or name --data text:FILE");
  }
  const WantedScale scale = *parse_scale(options.normalize);
  try {
    return data::open(spec, {.test_percent = *parse_split(options.split),
                             .scale = scale.scale,
                             .find_scale = scale.of_training,
                             .class_names = options.class_names,
                             .whole = options.whole,

                             .window = options.context});
  } catch (const InvalidArgument& wrong) {
    const std::string told = std::string("--data: ") + wrong.what();
    std::error_code error;
    if (spec != "fashion-mnist" && spec.find(':') == std::string::npos &&
        !std::filesystem::is_directory(spec, error)) {
      throw Error(told);
    }
    throw UsageError(told);
  }
}

// Else the first batch would be refused, after all that comes before it.
void check_augmentation(const data::Augmentation& how, const TrainingOptions& options,
                        const std::string& name, const std::vector<std::int64_t>& shape) {
  if (how == data::Augmentation()) return;
  constexpr std::size_t kPicture = 3;
  if (shape.size() != kPicture) {
    throw UsageError("--augment " + options.augment + " changes pictures, and " + name +
                     " has none; leave it out");
  }
  const std::int64_t side = std::min(shape[1], shape[2]);
  if (how.crop < side) return;
  throw UsageError("--augment " + options.augment + ": the pictures of " + name + " have " +
                   std::to_string(shape[1]) + " x " + std::to_string(shape[2]) +
                   " pixels; take a crop below " + std::to_string(side));
}

}  // namespace

TrainingSource::TrainingSource(const TrainingOptions& options, plugin::Definition definition)
    : task_(make_task(options, std::move(definition))),
      batch_size_(task_.batch_size(options.batch_size, kTrainingBatch)),
      seed_(static_cast<std::uint64_t>(options.seed)),
      augmentation_(*parse_augmentation(options.augment)),
      split_(*parse_split(options.split)) {
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
  how.augmentation = augmentation_;
  loader_.emplace(splits_->training, batch_size_, how);
  if (steps_done == 0) return;
  loader_->restore({.seed = seed_,
                    .epoch = steps_done / loader_->batches(),
                    .position = steps_done % loader_->batches() * batch_size_});
}

std::string TrainingSource::fingerprint() const {
  return splits_ ? data::fingerprint(*splits_->training) : "";
}

std::map<std::string, std::string> TrainingSource::preparation() const {
  const auto text = [](const std::string& one, const char* otherwise) {
    return one.empty() ? otherwise : one;
  };
  return {{"split", text(text_of_split(split_), "10%")},
          {"normalize", text(splits_ ? text_of_scale(splits_->scale) : "", "none")},
          {"augment", text(text_of_augmentation(augmentation_), "none")}};
}

train::MicroBatch TrainingSource::next() {
  if (!splits_) return task_.batch_of_step(batch_size_, step_++);
  std::optional<data::Batch> batch = loader_->next();
  if (!batch) batch = loader_->next();
  return {batch->tensors[0], batch->tensors[1]};
}

Task TrainingSource::make_task(const TrainingOptions& options, plugin::Definition definition) {
  if (options.data.empty() && definition.make_batch) {
    const std::string context = options.context ? std::to_string(*options.context) : "";
    for (const auto& [option, value] :
         {std::pair("--split", options.split), std::pair("--normalize", options.normalize),
          std::pair("--augment", options.augment), std::pair("--context", context)}) {
      if (value.empty()) continue;
      throw UsageError(std::string(option) + " is for a data set, and --model " + options.model +
                       " makes its batches itself; name --data, or leave it out");
    }
    return Task::without_data(options, std::move(definition));
  }
  if (options.data.empty() && names_library(options.model)) {
    throw UsageError("--model " + options.model +
                     " makes no batches; name --data, or set make_batch in its definition");
  }
  name_ = options.data.empty() ? "fashion-mnist" : options.data;
  splits_ = open_data(name_, options);
  check_augmentation(*parse_augmentation(options.augment), options, name_, splits_->sample_shape);
  return {options, std::move(definition),
          plugin::Samples{splits_->sample_shape, splits_->classes, splits_->vocabulary},
          "--data " + name_};
}

}  // namespace neap::app
