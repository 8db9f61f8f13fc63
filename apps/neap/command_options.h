// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The options of each command, for CLI11. command_line.cpp combines them.
#pragma once

#include "command_line.h"
#include "values.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace neap::app {

// Adds --model with --layers, --blocks, --width and --heads, --optimizer, --bf16, --seed and
// --threads. The help shows the values in `options` as defaults.
void add_run_options(CLI::App& command, RunOptions& options);
// Adds --report.
void add_report_option(CLI::App& command, std::string& report);
// Adds --input.
CLI::Option* add_input_option(CLI::App& command, std::vector<std::int64_t>& input);

// Adds the options of a step that is traced.
void add_tracing_options(CLI::App& command, TracingOptions& options);
// Adds the file of a traced step, and --model with its kin for one that is traced first.
void add_traced_step(CLI::App& command, TracingOptions& options, std::string& file);
// Throws: UsageError unless one of the two is named.
void check_traced_step(const CLI::App& command, const TracingOptions& options,
                       const std::string& file);

// Adds what train and verify share.
void add_shared_options(CLI::App& command, TrainingOptions& options);
void add_train_options(CLI::App& command, TrainingOptions& options);
void add_evaluate_options(CLI::App& command, TrainingOptions& options);
// Adds what evaluate and predict share.
void add_test_set_options(CLI::App& command, TrainingOptions& options);

CLI::App* add_predict(CLI::App& app, PredictOptions& options);
CLI::App* add_export(CLI::App& app, ExportOptions& options);
CLI::App* add_import(CLI::App& app, TrainingOptions& options);

CLI::App* add_analyze(CLI::App& app, MeasuringOptions& options);
CLI::App* add_bench(CLI::App& app, MeasuringOptions& options);
CLI::App* add_max_batch(CLI::App& app, MeasuringOptions& options);
CLI::App* add_trace(CLI::App& app, TracingOptions& options);
CLI::App* add_plan(CLI::App& app, PlanOptions& options);
CLI::App* add_advise(CLI::App& app, AdviseOptions& options);
CLI::App* add_profile(CLI::App& app, ViewOptions& options);
CLI::App* add_summary(CLI::App& app, ViewOptions& options);
CLI::App* add_explain(CLI::App& app, ViewOptions& options);
CLI::App* add_report(CLI::App& app, ReportOptions& options);
CLI::App* add_runs(CLI::App& app, RunsOptions& options);
CLI::App* add_doctor(CLI::App& app, DoctorOptions& options);
// Throws: UsageError when the given options do not go together.
void check_train(const TrainingOptions& options);
void check_measuring(const MeasuringOptions& options);
void check_plan(const CLI::App& command, const PlanOptions& options);
void check_report(const CLI::App& command, const ReportOptions& options);
// Whether a format of neap report shows what each budget costs.
bool takes_frontier(const std::string& format);

// The file that an option names.
struct NamedFile {
  const char* option;
  const std::string& path;  // empty: none
};
// Throws: UsageError when one file would overwrite another one, or one that is read.
void check_files_differ(const std::vector<NamedFile>& files);

}  // namespace neap::app
