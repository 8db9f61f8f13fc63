// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "run_folder.h"

#include "budget.h"
#include "data_options.h"
#include "notes.h"
#include "output.h"

#include <neap/machine.h>

#include <array>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

namespace neap::app {
namespace {

namespace fs = std::filesystem;

// Notes of the snapshot.
constexpr const char* kSteps = "steps";
constexpr const char* kBatchSize = "batch size";
// What snapshots without these notes began with.
const std::map<std::string, std::string> kBeforeSettings{
    {"split", "10%"}, {"normalize", "none"}, {"augment", "none"}};
// The weights of the best look at the test set, beside the snapshots.
constexpr const char* kBest = "best.safetensors";
// Those that are there only where an option asks for them.
constexpr std::array kLaterSettings{"layers", "blocks", "width",          "heads",
                                    "bf16",   "betas",  "label smoothing"};

bool is_snapshot(const fs::path& path) {
  std::error_code error;
  return fs::exists(path / "snapshot.json", error);
}

// Where the snapshots are that --resume names: all of a folder, or one in it.
fs::path folder_of(const fs::path& resume) {
  return is_snapshot(resume) ? fs::absolute(resume).lexically_normal().parent_path() : resume;
}

// A name of a file may have any bytes, and a note is UTF-8.
std::string as_text(const std::string& bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char one : bytes) {
    const auto byte = static_cast<unsigned char>(one);
    if (byte < 0x80 && one != '\\') {
      text += one;
    } else {
      text += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return text;
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

TrainingOptions as_trained(TrainingOptions options) {
  const fs::path from = options.weights;
  std::error_code error;
  std::optional<fs::path> snapshot;
  if (is_snapshot(from)) {
    snapshot = from;
  } else if (fs::is_directory(from, error)) {
    snapshot = train::newest_snapshot(from);
  } else if (is_snapshot(from.parent_path())) {
    snapshot = from.parent_path();
  } else if (from.filename() == kBest && fs::is_regular_file(from, error)) {
    snapshot = train::newest_snapshot(fs::absolute(from).parent_path());
  }
  if (!snapshot) return options;
  const std::map<std::string, std::string> notes = train::position_of(*snapshot).notes;
  const auto note = [&](const char* name) {
    const auto found = notes.find(name);
    return found == notes.end() ? std::string() : found->second;
  };
  if (note("model") == as_text(options.model)) {
    ModelSizes& sizes = options.sizes;
    for (const auto& [name, size] :
         {std::pair("layers", &sizes.layers), std::pair("blocks", &sizes.blocks),
          std::pair("width", &sizes.width), std::pair("heads", &sizes.heads)}) {
      if (!*size) *size = number_in<std::int64_t>(notes, name);
    }
    options.bf16 = options.bf16 || !note("bf16").empty();
  }
  const std::string scale = note("normalize"), split = note("split");
  if (options.normalize.empty() && parse_scale(scale)) options.normalize = scale;
  // In other data it would be another part.
  const std::string data = options.data.empty() ? "fashion-mnist" : options.data;
  const bool is_default = split == kBeforeSettings.at("split");  // also where nothing was split
  if (options.split.empty() && !is_default && note("data") == as_text(data) && parse_split(split)) {
    options.split = split;
  }
  return options;
}

RunFolder::RunFolder(const TrainingOptions& options, const TrainingSource& source)
    : folder_(options.out), interval_(parse_interval(options.save_every)), keep_(options.keep) {
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
  const auto add_size = [&](const char* name, const std::optional<std::int64_t>& size) {
    if (size) training_[name] = std::to_string(*size);
  };
  add_size("layers", options.sizes.layers);
  add_size("blocks", options.sizes.blocks);
  add_size("width", options.sizes.width);
  add_size("heads", options.sizes.heads);
  if (options.bf16) training_["bf16"] = "true";
  if (!options.betas.empty()) {
    training_["betas"] = exact(options.betas[0]) + ", " + exact(options.betas[1]);
  }
  if (options.label_smoothing > 0) training_["label smoothing"] = exact(options.label_smoothing);
  training_.merge(source.preparation());
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
  check_same_training();
  if (from_here_) {
    saved_step_ = position_.step;
    // Its own settings win over these.
    found_so_far_ = position_.notes;
  }
  said_.push_back("going on from " + found_->string() + ", after step " +
                  std::to_string(position_.step));
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
  const auto text_in = [](const std::map<std::string, std::string>& settings,
                          const std::string& name) {
    const auto found = settings.find(name);
    if (found != settings.end()) return found->second;
    const auto there_before = kBeforeSettings.find(name);
    return there_before == kBeforeSettings.end() ? std::string("left out") : there_before->second;
  };
  std::set<std::string> names;
  for (const auto& [name, now] : training_) names.insert(name);
  for (const char* const name : kLaterSettings) names.insert(name);
  for (const std::string& name : names) {
    const std::string then = text_in(position_.notes, name), now = text_in(training_, name);
    if (then == now) continue;
    throw Error(found_->string() + " is of another training: its " + name + " is " + then +
                ", and this one's " + now +
                "; give the options that it began with, or begin in another folder");
  }
}

void RunFolder::load(Job& job) const {
  if (found_) train::load(*found_, job.model.module(), *job.optimizer);
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
    train::export_weights(job.model.module(), folder_ / kBest);
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
