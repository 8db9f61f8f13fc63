// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap report: draws traced steps and trainings as one page of HTML, or writes what is known of
// them in the formats of other tools.
#include "command_options.h"
#include "commands.h"
#include "export/chrome.h"
#include "export/memory_viz.h"
#include "export/tables.h"
#include "export/tensorboard.h"
#include "page/page.h"
#include "page/run_sections.h"
#include "page/trace_sections.h"
#include "wanted_budget.h"

#include <neap/machine.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostOfFirstLine = 1 << 16;

// The file of a training's lines, where the path is one, or is a folder of neap train --out. Else
// it is a trace.
std::optional<fs::path> run_file_of(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    fs::path file = fs::path(path) / "run.jsonl";
    if (!fs::exists(file, error)) {
      throw Error(path + ": there is no run.jsonl; neap train --out DIR writes it into its folder");
    }
    return file;
  }
  std::ifstream file(path);
  std::string line(kMostOfFirstLine, '\0');
  file.get(line.data(), kMostOfFirstLine);
  line.resize(static_cast<std::size_t>(file.gcount()));
  const Json first = Json::parse(line, nullptr, false);
  if (first.is_object() && first.contains("event")) return fs::path(path);
  return std::nullopt;
}

// The last part of a path, also of `run/`.
std::string name_of(const std::string& path) {
  const fs::path whole = fs::absolute(path).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

// Whether the format shows it, and it is wanted.
bool has_frontier(const ReportOptions& options) {
  return !options.no_frontier && takes_frontier(options.format);
}

TracedStep step_of(const fs::path& file, const ReportOptions& options) {
  TracedStep step;
  step.file = file.string();
  step.trace = graph::read_trace(file);
  planner::Options search;
  search.followable = true;
  if (!options.budget.empty()) {
    search.budget = bytes_of(parse_wanted_budget(options.budget), step.trace);
    step.solution = planner::solve(step.trace, search);
  }
  if (has_frontier(options)) step.frontier = planner::frontier(step.trace, options.points, search);
  return step;
}

// Throws: UsageError when the format cannot hold what the files are.
void check_fits(const ReportOptions& options, const std::vector<fs::path>& run_files,
                const std::vector<fs::path>& traces) {
  const std::string with = "report: --format " + options.format;
  if (options.format == "chrome" || options.format == "memory-viz") {
    if (!run_files.empty()) {
      throw UsageError(with + " takes a traced step, and " + run_files.front().string() +
                       " is a training; name a file of neap trace, or --format tensorboard");
    }
    if (traces.size() > 1) {
      throw UsageError(with + " takes one traced step, and there are " +
                       std::to_string(traces.size()) + "; write a file for each of them");
    }
  }
  if (options.format == "tensorboard" && !traces.empty()) {
    throw UsageError(with + " takes trainings, and " + traces.front().string() +
                     " is none; name folders of neap train --out, or --format chrome");
  }
  if (traces.empty() && !options.budget.empty()) {
    throw UsageError("report: --budget is for traced steps, and none of the files is one");
  }
}

std::string page_of(const ReportOptions& options, const std::vector<TrainingRun>& runs,
                    const std::vector<TracedStep>& steps) {
  const std::string what = options.files.size() == 1
                               ? name_of(options.files.front())
                               : std::to_string(options.files.size()) + " files";
  Page page("neap report: " + what, "Sizes are in bytes, as KiB of 1,024.");
  add_run_sections(page, runs);
  for (const TracedStep& step : steps) add_trace_sections(page, step);
  return page.html();
}

// The formats of one file.
std::string text_of(const ReportOptions& options, const std::vector<TrainingRun>& runs,
                    const std::vector<TracedStep>& steps) {
  if (options.format == "chrome") return chrome_trace(steps.front());
  if (options.format == "memory-viz") return memory_snapshot(steps.front());
  if (options.format == "json") return json_of(tables_of(runs, steps));
  return page_of(options, runs, steps);
}

std::string hint_of(const std::string& format) {
  if (format == "html") return "; a browser opens it, without a network";
  if (format == "chrome") return "; https://ui.perfetto.dev and chrome://tracing open it";
  if (format == "memory-viz") return "; https://pytorch.org/memory_viz opens it";
  return format == "tensorboard" ? "; tensorboard --logdir opens it" : "";
}

// The formats of several files.
void add_files(ReportFolder& folder, const ReportOptions& options,
               const std::vector<TrainingRun>& runs, const std::vector<TracedStep>& steps) {
  if (options.format == "tensorboard") {
    for (const TrainingRun& run : runs) {
      const ScalarFile file = scalars_of(run);
      folder.add(fs::path(run.name) / file.name, file.bytes);
    }
    return;
  }
  for (const DataTable& table : tables_of(runs, steps)) {
    folder.add(table.name + ".csv", csv_of(table));
  }
}

}  // namespace

int report(const ReportOptions& options, Output& output) {
  if (!options.budget.empty()) (void)parse_wanted_budget(options.budget);
  // No operators run here, so no operator could throw after an interrupt.
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  std::vector<fs::path> run_files, traces;
  for (const std::string& file : options.files) {
    const std::optional<fs::path> run = run_file_of(file);
    check_files_differ({{"FILE", run.value_or(file).string()}, {"-o", options.out}});
    (run ? run_files : traces).push_back(run.value_or(file));
  }
  check_fits(options, run_files, traces);
  const bool is_folder = options.format == "csv" || options.format == "tensorboard";
  std::optional<ReportFolder> folder;
  if (is_folder) folder.emplace("-o", options.out);
  ReportFile out("-o", is_folder ? fs::path() : fs::path(options.out));
  std::vector<TrainingRun> runs;
  for (const fs::path& file : run_files) runs.push_back(read_run(file));
  name_runs(runs);
  std::vector<TracedStep> steps;
  for (const fs::path& file : traces) steps.push_back(step_of(file, options));
  if (folder) {
    add_files(*folder, options, runs, steps);
    folder->finish();
  } else {
    out.write([&](std::ostream& file) { file << text_of(options, runs, steps); });
  }
  output.line("wrote " + options.out + hint_of(options.format));
  return 0;
}

}  // namespace neap::app
