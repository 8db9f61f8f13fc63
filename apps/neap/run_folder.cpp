// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "run_folder.h"

#include "budget.h"
#include "built_in.h"
#include "data_options.h"
#include "notes.h"
#include "output.h"

#include <neap/machine.h>

#include <array>
#include <set>
#include <system_error>
#include <utility>

namespace neap::app {
namespace {

namespace fs = std::filesystem;

// Notes of the snapshot.
constexpr const char* kSteps = "steps";
constexpr const char* kBatchSize = "batch size";
constexpr const char* kImported = "imported from";  // weights alone, of no training
constexpr const char* kOtherBits = "other bits";    // where another machine went on
// What snapshots without these notes began with.
const std::map<std::string, std::string> kBeforeSettings{
    {"split", kDefaultSplit}, {"normalize", "none"}, {"augment", "none"}};
// Those that, like sizes, are there only where an option asks for them.
constexpr std::array kLaterSettings{"bf16", "betas", "label smoothing"};

// Where the snapshots are that --resume names: all of a folder, or one in it.
fs::path folder_of(const fs::path& resume) {
  return is_snapshot(resume) ? fs::absolute(resume).lexically_normal().parent_path() : resume;
}

}  // namespace

std::optional<std::int64_t> saved_batch_size(const TrainingOptions& options) {
  if (!options.resume) return std::nullopt;
  const fs::path from = options.resume->empty() ? options.out : *options.resume;
  if (from.empty()) return std::nullopt;
  const std::optional<fs::path> found =
      is_snapshot(from) ? std::optional(from) : train::newest_snapshot(from);
  if (!found) return std::nullopt;
  const std::map<std::string, std::string> notes = train::position_of(*found).notes;
  return number_in<std::int64_t>(notes, kBatchSize);
}

RunFolder::RunFolder(const TrainingOptions& options, const TrainingSource& source)
    : folder_(options.out),
      interval_(parse_interval(options.save_every)),
      keep_(options.keep),
      allowed_{.other_threads = options.allow_other_threads,
               .other_torch = options.allow_other_torch,
               .other_kernels = options.allow_other_kernels} {
  if (folder_.empty() && options.resume) folder_ = folder_of(*options.resume);
  if (folder_.empty() && options.resume) {
    throw UsageError("--resume names no folder; write --resume DIR, or --out DIR --resume");
  }
  if (folder_.empty() && !options.save_every.empty()) {
    throw UsageError("--save-every needs --out DIR: where the snapshots go");
  }
  if (folder_.empty()) return;
  training_ = {{"model", as_text(options.model)},
               {"optimizer", source.task().optimizer_name()},
               {"learning rate", exact(source.task().learning_rate())},
               {"weight decay", exact(source.task().weight_decay())},
               {"schedule", options.schedule},
               {"warmup", options.warmup ? std::to_string(*options.warmup) : "a twentieth"},
               {"clip norm", exact(options.clip_norm)},
               {"data", as_text(source.name())},
               {"samples", source.fingerprint()},
               {kBatchSize, std::to_string(source.batch_size())},
               {"accumulate", std::to_string(options.accumulate)},
               {"seed", std::to_string(options.seed)}};
  TrainingOptions given = options;
  for (const auto& [name, of] : kSizes) {
    if (of(given)) training_[name] = std::to_string(*of(given));
  }
  if (options.bf16) training_["bf16"] = "true";
  if (!options.betas.empty()) {
    training_["betas"] = exact(options.betas[0]) + ", " + exact(options.betas[1]);
  }
  if (options.label_smoothing > 0) training_["label smoothing"] = exact(options.label_smoothing);
  training_.merge(source.preparation());
  if (const data::Splits* const splits = source.splits(); splits && splits->vocabulary == 0) {
    add_classes(beside_, splits->class_names, splits->classes);
    add_names(beside_, kColumns, splits->columns);
  }
  find(options.resume);
  check_writable();
}

void RunFolder::find(const std::optional<std::string>& resume) {
  std::vector<std::string> damaged;
  const fs::path from = resume && !resume->empty() ? fs::path(*resume) : folder_;
  std::error_code error;
  from_here_ = folder_of(from) == folder_ || fs::equivalent(folder_of(from), folder_, error);
  if (!resume || !from_here_) require_empty();
  if (!resume) return;
  found_ = is_snapshot(from) ? from : train::newest_snapshot(from, &damaged);
  if (!found_ && !damaged.empty()) {
    throw Error(from.string() + " has snapshots, and none can be read:\n  " + damaged.front());
  }
  for (const std::string& one : damaged) said_.push_back(one);
  if (!found_) {
    if (!resume->empty()) {
      throw Error("--resume " + from.string() + " has no snapshot; name the folder of --out");
    }
    said_.push_back("no snapshot in " + from.string() + " yet: the training begins");
    return;
  }
  newest_ = *found_;
  position_ = train::position_of(*found_);
  is_imported_ = position_.notes.contains(kImported);
  check_same_training();
  if (from_here_) saved_step_ = position_.step;
  if (is_imported_) {
    said_.push_back("the training begins with the weights that were imported into " +
                    found_->string());
    return;
  }
  if (from_here_) found_so_far_ = position_.notes;  // its own settings win over these
  said_.push_back("going on from " + found_->string() + ", after step " +
                  std::to_string(position_.step));
  const auto before = position_.notes.find(kOtherBits);
  if (before != position_.notes.end()) beside_[kOtherBits] = before->second;
  if (!allowed_.other_threads && !allowed_.other_torch && !allowed_.other_kernels) return;
  for (const std::string& one : train::other_bits(*found_)) {
    const std::string what = "after step " + std::to_string(position_.step) + ": " + one;
    std::string& note = beside_[kOtherBits];
    note += (note.empty() ? "" : "; ") + what;
    said_.push_back("the bits are others from here on, as it was allowed: " + one);
  }
}

std::string RunFolder::other_bits() const {
  const auto note = beside_.find(kOtherBits);
  return note == beside_.end() ? std::string() : note->second;
}

void RunFolder::require_empty() const {
  std::vector<std::string> damaged;
  if (!train::newest_snapshot(folder_, &damaged) && damaged.empty()) return;
  throw Error("--out " + folder_.string() +
              " has the snapshots of a training; go on with --resume, or name another folder");
}

// Else a training would learn at its end that it cannot be saved.
void RunFolder::check_writable() const {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) {
    throw Error("--out " + folder_.string() +
                " cannot be made: " + machine::why_not_written(error.value()));
  }
  const OutputFile probe(folder_ / "probe", OutputFile::Access::Private);  // it gets no name
}

void RunFolder::check_same_training() const {
  TrainingOptions defaults;
  defaults.sizes = default_sizes(training_.at("model"));
  defaults.context = kDefaultContext;
  std::map<std::string, std::string> left_out = kBeforeSettings;
  std::set<std::string> names;
  for (const auto& [name, of] : kSizes) {
    names.insert(name);
    // A training names its sizes as it was begun; with weights alone it is their value that counts.
    if (is_imported_ && of(defaults)) left_out[name] = std::to_string(*of(defaults));
  }
  const auto text_in = [&](const std::map<std::string, std::string>& settings,
                           const std::string& name) {
    for (const auto* const from : {&settings, &std::as_const(left_out)}) {
      const auto found = from->find(name);
      if (found != from->end()) return found->second;
    }
    return std::string("left out");
  };
  const bool now_is_table = training_.at("data").starts_with("csv:");
  if (is_imported_) {
    names.insert("model");
  } else {
    for (const auto& [name, now] : training_) names.insert(name);
    names.insert(kLaterSettings.begin(), kLaterSettings.end());
  }
  for (const std::string& name : names) {
    const std::string then = text_in(position_.notes, name), now = text_in(training_, name);
    if (then == now) continue;
    // Tables were scaled by their training set before notes said so.
    if (name == "normalize" && then == "none" && now_is_table) continue;
    throw Error(found_->string() + " is of another training: its " + name + " is " + then +
                ", and this one's " + now +
                "; give the options that it began with, or begin in another folder");
  }
}

void RunFolder::load(Job& job) const {
  if (!found_) return;
  if (is_imported_) {
    train::check_snapshot(*found_);
    train::import_weights(job.model.module(), *found_ / "model.safetensors");
  } else {
    train::load(*found_, job.model.module(), *job.optimizer, allowed_);
  }
}

fs::path RunFolder::save_imported(const Job& job, const FoundWeights& from) const {
  train::Position position{.step = 0, .notes = beside_};
  const auto take = [&](const char* name) {
    const auto setting = training_.find(name);
    if (setting != training_.end()) position.notes.insert(*setting);
  };
  for (const NamedSize& size : kSizes) take(size.name);
  for (const char* const name : {"model", "bf16", "normalize"}) take(name);
  // The weights know their columns, and noise has none.
  const auto columns = from.notes.find(kColumns);
  if (columns != from.notes.end()) position.notes[kColumns] = columns->second;
  position.notes[kImported] = as_text(from.file.filename().string());
  return train::save(folder_, job.model.module(), *job.optimizer, position);
}

// The learning rate hangs on it, so another number is allowed and said.
std::string RunFolder::set_steps(std::int64_t total) {
  steps_ = total;
  const auto then = position_.notes.find(kSteps);
  if (!found_ || then == position_.notes.end() || then->second == std::to_string(total)) return {};
  return "the training had " + then->second + " steps and has " + std::to_string(total) +
         " now: its learning rate goes on along another curve";
}

std::string RunFolder::after_step(const Job& job, std::int64_t step) {
  const bool by_steps = interval_.steps > 0 && step % interval_.steps == 0;
  const bool by_time =
      interval_.time.count() > 0 && std::chrono::steady_clock::now() - saved_at_ >= interval_.time;
  if (!by_steps && !by_time) return {};
  try {
    save(job, step);
    return {};
  } catch (const Error& error) {  // the next one may succeed, and what is learned is in memory
    saved_at_ = std::chrono::steady_clock::now();
    return "step " + std::to_string(step) + " was not saved: " + error.what();
  }
}

fs::path RunFolder::save(const Job& job, std::int64_t step) {
  if (folder_.empty() || (saved_step_ == step && notes_are_saved_)) return newest_;
  train::Position position{.step = step, .notes = training_};
  position.notes[kSteps] = std::to_string(steps_);
  position.notes.insert(beside_.begin(), beside_.end());
  position.notes.insert(found_so_far_.begin(), found_so_far_.end());
  // The first steps may begin again from what was found.
  const std::int64_t more =
      from_here_ && found_ && step - position_.step < kFirstSteps ? kFirstSteps : 0;
  newest_ = train::save(folder_, job.model.module(), *job.optimizer, position,
                        {.keep = keep_ == 0 ? 0 : keep_ + more});
  saved_step_ = step;
  notes_are_saved_ = true;
  saved_at_ = std::chrono::steady_clock::now();
  return newest_;
}

std::string RunFolder::save_best(const Job& job) const {
  try {
    train::export_weights(job.model.module(), folder_ / kBestWeights);
    return {};
  } catch (const Error& error) {  // the training itself goes on from snapshots
    return error.what();
  }
}

std::string RunFolder::how_to_go_on() const {
  if (newest_.empty()) return {};
  return "step " + std::to_string(saved_step_.value_or(position_.step)) + " is in " +
         newest_.string() + ": go on with --out " + folder_.string() + " --resume" +
         (saved_step_ ? "" : " " + found_->string());
}

}  // namespace neap::app
