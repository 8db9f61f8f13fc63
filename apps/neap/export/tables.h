// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The tables of a report as plain data, in bytes, ns and ms, for CSV and JSON. docs/report.md names
// them and their columns. No LibTorch here.
#pragma once

#include "page/run_sections.h"
#include "page/trace_sections.h"

#include <string>
#include <vector>

namespace neap::app {

struct DataTable {
  std::string name;
  std::vector<std::string> columns;
  std::vector<std::vector<Json>> rows;  // texts, numbers, flags and null
};

// Those of what there is: `trainings`, `training_steps` and `evaluations`; `traced_steps`,
// `timeline`, `peak_holders`, `layers` and, where one was searched for, `frontier`.
// REQUIRES: the trainings have names.
std::vector<DataTable> tables_of(const std::vector<TrainingRun>& runs,
                                 const std::vector<TracedStep>& steps);

// A null is an empty cell. Control characters of a text are written as \x1b.
std::string csv_of(const DataTable& table);
// One object: a list of objects for each table, by its name.
std::string json_of(const std::vector<DataTable>& tables);

}  // namespace neap::app
