// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a model says of samples, as a table, as CSV and as JSON. No LibTorch here.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap::app {

inline constexpr std::int64_t kNoClass = -1;  // the scores are not finite

struct Prediction {
  std::int64_t sample = 0;  // its row in the data, from 0
  std::string file = {};    // empty: it has none
  // Classes and their probabilities, the most likely first; empty: there are outputs.
  std::vector<std::pair<std::int64_t, double>> top = {};
  std::vector<double> outputs = {};
  std::optional<std::int64_t> label = {};  // the true class; nullopt: it is not known
};

struct Predictions {
  std::vector<std::string> class_names = {};  // empty: classes have numbers
  std::vector<Prediction> rows = {};
};

// The first rows, for a terminal.
std::string table_of(const Predictions& predictions, std::size_t most);
// All of them: docs/json.md has the columns.
std::string csv_of(const Predictions& predictions);
nlohmann::ordered_json json_of(const Predictions& predictions);
// Those of kNoClass.
std::int64_t without_class(const Predictions& predictions);
// A line for people: how many there are, and how many are right.
std::string summary_of(const Predictions& predictions);

}  // namespace neap::app
