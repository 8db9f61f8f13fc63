// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a model makes of the test set.
#pragma once

#include "evaluations.h"
#include "job.h"
#include "progress.h"

#include <neap/data.h>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>

namespace neap::app {

// Loss and accuracy over a test set, computed inside the budget. An accuracy is the share of
// labels, or tokens, for which the model's highest score is right; nullopt when its output has no
// scores for the labels.
TestResult test_result(const train::Model& model, const Task& task, MemoryEfficientDataLoader& test,
                       const std::optional<Bytes>& budget, Progress& progress);

// A line of --json.
nlohmann::json json_of(const TestResult& result);

}  // namespace neap::app
