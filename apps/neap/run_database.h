// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Trainings as rows of a table of SQLite, so that they can be chosen and sorted by SQL. In memory;
// no file is written. No LibTorch here.
#pragma once

#include "page/run_sections.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace neap::app {

// What is known of a training, by the names of columns: what was in effect, then the settings, then
// what came of it. Names are of lower-case letters, digits and underscores.
using RunColumns = std::vector<std::pair<std::string, Json>>;
RunColumns columns_of(const TrainingRun& run);

class RunDatabase {
 public:
  // The columns of the table are those of all trainings; a training without one has null there.
  // Throws: Error when SQLite refuses them.
  explicit RunDatabase(const std::vector<RunColumns>& runs);
  RunDatabase(const RunDatabase&) = delete;
  RunDatabase& operator=(const RunDatabase&) = delete;
  ~RunDatabase();

  // The trainings, by their place, that fulfil `where`, in the order of `sort`: both are parts of a
  // SELECT, as "loss < 0.5 and model = 'mlp'" and "loss desc". Empty: all; as they are.
  // Throws: UsageError, with SQLite's words and the names of the columns.
  [[nodiscard]] std::vector<std::size_t> select(const std::string& where,
                                                const std::string& sort) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace neap::app
