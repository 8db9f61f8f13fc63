// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "weights.h"

#include "data_options.h"
#include "notes.h"
#include "output.h"

#include <neap/snapshot.h>

#include <system_error>
#include <utility>

namespace neap::app {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "model.safetensors";

std::string list_of(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

TrainingOptions with_a_step(TrainingOptions options) {
  options.steps = 1;  // else a model that makes its batches would be asked for a number
  return options;
}

}  // namespace

FoundWeights find_weights(const fs::path& from, bool best) {
  std::error_code error;
  FoundWeights found{.file = best ? from / kBestWeights : from};
  if (best && !fs::is_regular_file(found.file, error)) {
    throw Error(from.string() + " has no " + kBestWeights +
                "; neap train --eval-every keeps it in the folder of --out");
  }
  if (is_snapshot(found.file)) {
    found.snapshot = found.file;
  } else if (found.file.filename() == kWeights && is_snapshot(found.file.parent_path())) {
    found.snapshot = found.file.parent_path();
  }
  if (found.file.filename() == "state.safetensors" && is_snapshot(found.file.parent_path())) {
    throw Error(found.file.string() + " has the optimizer's state, and no weights; name " +
                found.file.parent_path().string());
  }
  std::optional<fs::path> told_by = found.snapshot;
  if (found.snapshot) {
    train::check_snapshot(*found.snapshot);
  } else if (found.file.filename() == kBestWeights && fs::is_regular_file(found.file, error)) {
    told_by = train::newest_snapshot(fs::absolute(found.file).parent_path());
  } else if (fs::exists(from / kWeights, error)) {
    found.file = from / kWeights;
  } else if (fs::is_directory(from, error)) {
    found.snapshot = told_by = train::newest_snapshot(from, &found.damaged);
    if (!found.snapshot) {
      throw Error(from.string() +
                  " has no whole snapshot and no weights; name a safetensors file, a snapshot, or "
                  "the folder of --out" +
                  (found.damaged.empty() ? "" : "\n  " + found.damaged.front()));
    }
  }
  if (found.snapshot) found.file = *found.snapshot / kWeights;
  found.notes = told_by ? train::position_of(*told_by).notes : train::texts_in(found.file);
  return found;
}

void load_weights(train::Model& model, const fs::path& from) {
  train::import_weights(model.module(), find_weights(from).file);
}

TrainingOptions as_trained(TrainingOptions options, const FoundWeights& weights, bool reads_text) {
  const std::map<std::string, std::string>& notes = weights.notes;
  const auto note = [&](const char* name) {
    const auto found = notes.find(name);
    return found == notes.end() ? std::string() : found->second;
  };
  const std::string file_name = fs::path(options.model).filename().string();
  // An exported file has the name of a library without its folder.
  if (note("model") == as_text(options.model) || note("model") == as_text(file_name)) {
    const std::optional<std::int64_t> context = options.context;
    for (const auto& [name, of] : kSizes) {
      const std::optional<std::int64_t> size = number_in<std::int64_t>(notes, name);
      if (!of(options) && size && *size >= 1 && *size <= kMostOfASize) of(options) = size;
    }
    // Other data have no rows of tokens, and would refuse it.
    if (!reads_text && !options.data.starts_with("text:")) options.context = context;
    options.bf16 = options.bf16 || !note("bf16").empty();
  }
  const std::string scale = note("normalize"), split = note("split");
  if (options.normalize.empty() && parse_scale(scale)) options.normalize = scale;
  // In other data it would be another part.
  const std::string data = options.data.empty() ? "fashion-mnist" : options.data;
  const bool is_default = split == kDefaultSplit;  // also where nothing was split
  if (options.split.empty() && !options.whole && !is_default && note("data") == as_text(data) &&
      parse_split(split)) {
    options.split = split;
  }
  options.class_names = names_in(notes, kClasses);
  return options;
}

std::optional<Bytes> budget_without_steps(const std::string& budget, const std::string& command) {
  const train::Budget wanted = parse_budget(budget);
  if (wanted.is_share()) {
    throw UsageError("--budget " + budget + " is a share of a training step, and " + command +
                     " trains none; name bytes");
  }
  return wanted.bytes({});
}

TrainedModel::TrainedModel(const TrainingOptions& options, const std::string& command)
    : budget_(budget_without_steps(options.budget, command)),
      weights_(find_weights(options.weights)),
      options_(with_a_step(as_trained(options, weights_))),
      source_(options_, find_model(options_)),
      model_(source_.task().make_model()) {
  if (!source_.has_test()) {
    throw UsageError("--model " + options.model + " makes its batches itself; name --data");
  }
  if (!options.quiet) {
    for (const std::string& one : weights_.damaged) say(one);
    for (const std::string& note : source_.notes()) say(note);
  }
  const std::vector<std::string> then = names_in(weights_.notes, kColumns);
  const std::vector<std::string>& now = source_.splits()->columns;
  if (!then.empty() && !now.empty() && then != now) {
    throw Error("--data " + source_.name() + ": its columns are " + list_of(now) +
                ", and the training's are " + list_of(then) + "; give them in that order");
  }
  train::import_weights(model_.module(), weights_.file);
}

}  // namespace neap::app
