// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap report: draws traced steps and trainings as one page of HTML.
#include "command_options.h"
#include "commands.h"
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

TracedStep step_of(const fs::path& file, const ReportOptions& options) {
  TracedStep step;
  step.trace = graph::read_trace(file);
  planner::Options search;
  search.followable = true;
  if (!options.budget.empty()) {
    search.budget = bytes_of(parse_wanted_budget(options.budget), step.trace);
    step.solution = planner::solve(step.trace, search);
  }
  if (!options.no_frontier) step.frontier = planner::frontier(step.trace, options.points, search);
  return step;
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
  if (traces.empty() && !options.budget.empty()) {
    throw UsageError("report: --budget is for traced steps, and none of the files is one");
  }
  ReportFile out("-o", options.out);
  std::vector<TrainingRun> runs;
  for (const fs::path& file : run_files) runs.push_back(read_run(file));
  std::vector<TracedStep> steps;
  for (const fs::path& file : traces) steps.push_back(step_of(file, options));
  const std::string what = options.files.size() == 1
                               ? name_of(options.files.front())
                               : std::to_string(options.files.size()) + " files";
  Page page("neap report: " + what, "Sizes are in bytes, as KiB of 1,024.");
  add_run_sections(page, runs);
  for (const TracedStep& step : steps) add_trace_sections(page, step);
  out.write([&](std::ostream& file) { file << page.html(); });
  output.line("wrote " + options.out + "; a browser opens it, without a network");
  return 0;
}

}  // namespace neap::app
