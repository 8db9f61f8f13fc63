// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "run_folder.h"

#include "budget.h"
#include "data_options.h"
#include "values.h"

#include <neap/machine.h>

#include <array>
#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

namespace neap::app {
namespace {

namespace fs = std::filesystem;

// Notes of the snapshot.
constexpr const char* kSteps = "steps";
constexpr const char* kBatchSize = "batch size";

[[noreturn]] void refuse_interval(const std::string& text) {
  throw UsageError("--save-every: '" + text +
                   "' is no number of steps and no time; write 200, 30s, 10m or 2h");
}

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

// All digits, so that two rates are the same text only when they are the same number.
std::string text_of(double value) {
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  return {digits.data(), end};
}

}  // namespace

SaveInterval parse_interval(const std::string& text) {
  if (text.empty()) return {};
  std::int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  constexpr std::int64_t kMostNumber = 1'000'000;
  if (error != std::errc() || number < 1 || number > kMostNumber) refuse_interval(text);
  const std::string unit(stop, end);
  if (unit.empty()) return {.steps = number};
  if (unit == "s") return {.time = std::chrono::seconds(number)};
  if (unit == "m") return {.time = std::chrono::minutes(number)};
  if (unit == "h") return {.time = std::chrono::hours(number)};
  refuse_interval(text);
}

std::optional<std::int64_t> saved_batch_size(const TrainingOptions& options) {
  if (!options.resume) return std::nullopt;
  const fs::path from = options.resume->empty() ? options.out : *options.resume;
  if (from.empty()) return std::nullopt;
  const std::optional<fs::path> found =
      is_snapshot(from) ? std::optional(from) : train::newest_snapshot(from);
  if (!found) return std::nullopt;
  const std::map<std::string, std::string> notes = train::position_of(*found).notes;
  const auto note = notes.find(kBatchSize);
  if (note == notes.end()) return std::nullopt;
  std::int64_t size = 0;
  const std::string& text = note->second;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  return error == std::errc() && size > 0 ? std::optional(size) : std::nullopt;
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
  }
  if (!snapshot) return options;
  const std::map<std::string, std::string> notes = train::position_of(*snapshot).notes;
  const auto note = [&](const char* name) {
    const auto found = notes.find(name);
    return found == notes.end() ? std::string() : found->second;
  };
  const std::string scale = note("normalize"), split = note("split");
  if (options.normalize.empty() && parse_scale(scale)) options.normalize = scale;
  // In other data it would be another part.
  const std::string data = options.data.empty() ? "fashion-mnist" : options.data;
  if (options.split.empty() && note("data") == as_text(data) && parse_split(split)) {
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
               {"learning rate", text_of(source.task().learning_rate())},
               {"weight decay", text_of(source.task().weight_decay())},
               {"schedule", options.schedule},
               {"warmup", options.warmup ? std::to_string(*options.warmup) : "a twentieth"},
               {"clip norm", text_of(options.clip_norm)},
               {"data", as_text(source.name())},
               {"samples", source.fingerprint()},
               {kBatchSize, std::to_string(source.batch_size())},
               {"accumulate", std::to_string(options.accumulate)},
               {"seed", std::to_string(options.seed)}};
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
  if (from_here_) saved_step_ = position_.step;
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
  for (const auto& [name, now] : training_) {
    const auto then = position_.notes.find(name);
    if (then != position_.notes.end() && then->second == now) continue;
    throw Error(found_->string() + " is of another training: its " + name + " is " +
                (then == position_.notes.end() ? "not known" : then->second) + ", and this one's " +
                now + "; give the options that it began with, or begin in another folder");
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
  if (folder_.empty() || saved_step_ == step) return newest_;
  train::Position position{.step = step, .notes = training_};
  position.notes[kSteps] = std::to_string(steps_);
  // The first steps may begin again from what was found.
  const std::int64_t more =
      from_here_ && found_ && step - position_.step < kFirstSteps ? kFirstSteps : 0;
  newest_ = train::save(folder_, job.model.module(), *job.optimizer, position,
                        {.keep = keep_ == 0 ? 0 : keep_ + more});
  saved_step_ = step;
  saved_at_ = std::chrono::steady_clock::now();
  return newest_;
}

std::string RunFolder::how_to_go_on() const {
  if (newest_.empty()) return {};
  return "step " + std::to_string(saved_step_.value_or(position_.step)) + " is in " +
         newest_.string() + ": go on with --out " + folder_.string() + " --resume" +
         (saved_step_ ? "" : " " + found_->string());
}

}  // namespace neap::app
