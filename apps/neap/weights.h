// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Weights that were saved: where they are, and how the model that they are of was trained.
#pragma once

#include "budget.h"
#include "training_source.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {

// What --weights names.
struct FoundWeights {
  std::filesystem::path file = {};  // a safetensors file
  // That the file is in. Its checksums were right.
  std::optional<std::filesystem::path> snapshot = {};
  // Of that snapshot, or of the newest one beside best.safetensors, or the texts of the file, as
  // neap export writes them; empty: nothing is known.
  std::map<std::string, std::string> notes = {};
  // For people: a text for each newer snapshot that is damaged.
  std::vector<std::string> damaged = {};
};
// Of a file, of a snapshot, or of the newest whole snapshot in a folder; `best`: the best weights
// that the folder has. Throws: Error, with the path, when there are none, or when the snapshot that
// is named is damaged.
FoundWeights find_weights(const std::filesystem::path& from, bool best = false);

// Puts the weights into a model. Throws: Error, as find_weights(), and when they do not fit.
void load_weights(train::Model& model, const std::filesystem::path& from);

// The options with the scale and the classes of the training that weights are from, with its split
// where the data are the same, and with its sizes and bf16 where the model is. What was given
// stays. `reads_text`: the samples are a text, whatever --data says.
TrainingOptions as_trained(TrainingOptions options, const FoundWeights& weights,
                           bool reads_text = false);

// The model of --weights, and the data for it.
class TrainedModel {
 public:
  // `command`: for messages. Says what is to be known, unless --quiet. Throws: UsageError for
  // options that do not go together, and for a model without a test set; Error for the weights,
  // and for a table with other columns than that of the training.
  TrainedModel(const TrainingOptions& options, const std::string& command);

  [[nodiscard]] const TrainingSource& source() const { return source_; }
  [[nodiscard]] const FoundWeights& weights() const { return weights_; }
  [[nodiscard]] const train::Model& model() const { return model_; }
  [[nodiscard]] const std::optional<Bytes>& budget() const { return budget_; }

 private:
  std::optional<Bytes> budget_;
  FoundWeights weights_;
  TrainingOptions options_;  // the source has a reference to it
  TrainingSource source_;
  train::Model model_;
};

// --budget of a command that does not train. Throws: UsageError for a share of a step.
std::optional<Bytes> budget_without_steps(const std::string& budget, const std::string& command);

}  // namespace neap::app
