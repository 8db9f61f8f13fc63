// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "run_folder.h"

#include "values.h"

#include <array>
#include <charconv>
#include <system_error>
#include <utility>

namespace neap::app {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSteps = "steps";  // a note of the snapshot

[[noreturn]] void refuse_interval(const std::string& text) {
  throw UsageError("--save-every: '" + text +
                   "' is no number of steps and no time; write 200, 30s, 10m or 2h");
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
  constexpr std::int64_t kMostNumber = std::int64_t{1} << 40;
  if (error != std::errc() || number < 1 || number > kMostNumber) refuse_interval(text);
  const std::string unit(stop, end);
  if (unit.empty()) return {.steps = number};
  if (unit == "s") return {.time = std::chrono::seconds(number)};
  if (unit == "m") return {.time = std::chrono::minutes(number)};
  if (unit == "h") return {.time = std::chrono::hours(number)};
  refuse_interval(text);
}

RunFolder::RunFolder(const TrainingOptions& options, const TrainingSource& source)
    : folder_(options.out), interval_(parse_interval(options.save_every)), keep_(options.keep) {
  if (folder_.empty() && options.resume) folder_ = *options.resume;
  if (folder_.empty() && options.resume) {
    throw UsageError("--resume names no folder; write --resume DIR, or --out DIR --resume");
  }
  if (folder_.empty() && !options.save_every.empty()) {
    throw UsageError("--save-every needs --out DIR: where the snapshots go");
  }
  training_ = {{"model", options.model},
               {"optimizer", source.task().optimizer_name()},
               {"learning rate", text_of(source.task().learning_rate())},
               {"data", source.name()},
               {"samples", source.fingerprint()},
               {"batch size", std::to_string(source.batch_size())},
               {"accumulate", std::to_string(options.accumulate)},
               {"seed", std::to_string(options.seed)}};
  if (!folder_.empty()) find(options);
}

void RunFolder::find(const TrainingOptions& options) {
  const fs::path from =
      options.resume && !options.resume->empty() ? fs::path(*options.resume) : folder_;
  std::vector<std::string> damaged;
  const std::optional<fs::path> newest = train::newest_snapshot(from, &damaged);
  if (!options.resume) {
    if (!newest && damaged.empty()) return;
    throw Error("--out " + folder_.string() +
                " has the snapshots of a training; go on with --resume, or name another folder");
  }
  for (const std::string& one : damaged) said_.push_back(one);
  if (!newest) {
    if (!options.resume->empty()) {
      throw Error("--resume " + from.string() + " has no whole snapshot; name the folder of --out");
    }
    said_.push_back("no snapshot in " + from.string() + " yet: the training begins");
    return;
  }
  found_ = newest;
  newest_ = *newest;
  position_ = train::position_of(*newest);
  check_same_training();
  if (from == folder_) saved_step_ = position_.step;
  said_.push_back("going on from " + newest->string() + ", after step " +
                  std::to_string(position_.step));
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

void RunFolder::after_step(const Job& job, std::int64_t step) {
  const bool by_steps = interval_.steps > 0 && step % interval_.steps == 0;
  const bool by_time =
      interval_.time.count() > 0 && std::chrono::steady_clock::now() - saved_at_ >= interval_.time;
  if (by_steps || by_time) save(job, step);
}

fs::path RunFolder::save(const Job& job, std::int64_t step) {
  if (folder_.empty() || saved_step_ == step) return newest_;
  train::Position position{.step = step, .notes = training_};
  position.notes[kSteps] = std::to_string(steps_);
  newest_ = train::save(folder_, job.model.module(), *job.optimizer, position, {.keep = keep_});
  saved_step_ = step;
  saved_at_ = std::chrono::steady_clock::now();
  return newest_;
}

std::string RunFolder::how_to_go_on() const {
  if (newest_.empty()) return {};
  return "step " + std::to_string(saved_step_.value_or(position_.step)) + " is in " +
         newest_.string() + ": go on with --out " + folder_.string() + " --resume";
}

}  // namespace neap::app
