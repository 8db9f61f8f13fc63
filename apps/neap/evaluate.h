// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a model makes of the test set.
#pragma once

#include "job.h"
#include "progress.h"

#include <neap/data.h>

#include <cstdint>
#include <filesystem>
#include <optional>

namespace neap::app {

// The share of test labels, or tokens, for which the model's highest score is right. It is computed
// inside the budget. Nullopt when the model's output does not have scores for the labels.
std::optional<double> test_accuracy(const train::Model& model, std::int64_t class_dim,
                                    MemoryEfficientDataLoader& test,
                                    const std::optional<Bytes>& budget, Progress& progress);

// Puts the weights of a file, of a snapshot, or of the newest snapshot in a folder into a model.
// Throws: Error, with the path.
void load_weights(train::Model& model, const std::filesystem::path& from);

}  // namespace neap::app
