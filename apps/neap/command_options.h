// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The options of each command, as CLI11 wants them. command_line.cpp puts them together.
#pragma once

#include "command_line.h"
#include "values.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <vector>

namespace neap::app {

// --model, --optimizer, --seed, --threads; shown with the defaults that `options` has.
void add_run_options(CLI::App& command, RunOptions& options);
// --input.
CLI::Option* add_input_option(CLI::App& command, std::vector<std::int64_t>& input);

CLI::App* add_analyze(CLI::App& app, MeasuringOptions& options);
CLI::App* add_bench(CLI::App& app, MeasuringOptions& options);
CLI::App* add_max_batch(CLI::App& app, MeasuringOptions& options);
CLI::App* add_trace(CLI::App& app, TracingOptions& options);
CLI::App* add_plan(CLI::App& app, PlanOptions& options);
// Throws: UsageError when what was named does not go together.
void check_plan(const CLI::App& command, const PlanOptions& options);

// Of an option that names a file.
struct NamedFile {
  const char* option;
  const std::string& path;  // empty: none
};
// Throws: UsageError when one file would be written over another, or over what is read.
void check_files_differ(const std::vector<NamedFile>& files);

}  // namespace neap::app
