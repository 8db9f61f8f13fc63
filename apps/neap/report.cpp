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
#include "page/whole_page.h"
#include "wanted_budget.h"

#include <neap/machine.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap::app {
namespace {

namespace fs = std::filesystem;

enum class Kind { Run, Trace, Measured, Ways };

struct Named {
  Kind kind;
  fs::path file;
};

// What a path is: a folder of neap train --out, or a file that its beginning tells. Else it is a
// trace.
Named named(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    fs::path file = fs::path(path) / "run.jsonl";
    if (!fs::exists(file, error)) {
      throw Error(path + ": there is no run.jsonl; neap train --out DIR writes it into its folder");
    }
    return {Kind::Run, file};
  }
  if (fs::exists(path, error) && !fs::is_regular_file(path, error)) {
    throw Error(path +
                ": it is no regular file, and a report reads its files more than once, so a pipe "
                "will not do; write what comes out of it into a file first");
  }
  if (fs::is_empty(path, error)) {
    throw Error(path + ": it is empty; was the command that should have written it stopped?");
  }
  if (is_table_of_ways(path)) return {Kind::Ways, path};
  constexpr std::int64_t kMostOfFirstLine = 1 << 16;
  std::ifstream file(path);
  std::string line(kMostOfFirstLine, '\0');
  file.get(line.data(), kMostOfFirstLine);
  line.resize(static_cast<std::size_t>(file.gcount()));
  const Json first = parsed(line);
  if (first.is_object() && first.contains("event")) return {Kind::Run, path};
  const bool is_trace = first.is_object() && first.contains("neap_trace");
  if (is_trace || !line.starts_with('{')) return {Kind::Trace, path};
  // One object, whose first line may be long, or a brace alone.
  std::ifstream whole(path);
  const Json object = parsed(whole);
  const bool is_measured = is_of_bench(object) || is_of_analyze(object);
  return {is_measured ? Kind::Measured : Kind::Trace, path};
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

// The first file of a kind; null: there is none.
const fs::path* first_of(const std::vector<Named>& files, Kind kind) {
  const auto found = std::ranges::find(files, kind, &Named::kind);
  return found == files.end() ? nullptr : &found->file;
}

// Throws: UsageError when the format cannot hold what the files are.
void check_fits(const ReportOptions& options, const std::vector<Named>& files) {
  const std::string with = "report: --format " + options.format;
  const auto traces = std::ranges::count(files, Kind::Trace, &Named::kind);
  const fs::path* const run = first_of(files, Kind::Run);
  const fs::path* const ways = first_of(files, Kind::Ways);
  const fs::path* const measured = first_of(files, Kind::Measured);
  if (options.format != "html" && (measured != nullptr || ways != nullptr)) {
    throw UsageError(with + " takes no " + (measured != nullptr ? *measured : *ways).string() +
                     ", which is measured already: take --format html, or the file itself");
  }
  if (options.format == "chrome" || options.format == "memory-viz") {
    if (run != nullptr) {
      throw UsageError(with + " takes a traced step, and " + run->string() +
                       " is a training; name a file of neap trace, or --format tensorboard");
    }
    if (traces > 1) {
      throw UsageError(with + " takes one traced step, and there are " + std::to_string(traces) +
                       "; write a file for each of them");
    }
  }
  if (options.format == "tensorboard" && traces > 0) {
    throw UsageError(with + " takes trainings, and " + first_of(files, Kind::Trace)->string() +
                     " is none; name folders of neap train --out, or --format chrome");
  }
  if (traces == 0 && !options.budget.empty()) {
    throw UsageError("report: --budget is for traced steps, and none of the files is one");
  }
  if (ways != nullptr && traces != 1) {
    throw UsageError("report: " + ways->string() +
                     " has shares of what one step needs, and there are " + std::to_string(traces) +
                     " traced steps; name the one that it belongs to");
  }
}

// What was measured goes beside the frontier of the same step.
void add_ways(PageContent& content, const std::vector<Named>& files) {
  for (const Named& one : files) {
    if (one.kind != Kind::Ways) continue;
    for (OtherWay& way : read_ways(one.file)) content.steps.front().ways.push_back(std::move(way));
  }
  for (TracedStep& step : content.steps) {
    for (const Measured& measured : content.measured) {
      for (OtherWay& way : ways_of(measured, step.trace.label)) step.ways.push_back(std::move(way));
      const std::vector<std::string> labels = labels_of(measured);
      if (labels.empty() || std::ranges::count(labels, step.trace.label) > 0) continue;
      say(measured.file + " has no row of " + step.trace.label +
          ", so its ways are not drawn beside that step; its first row is of " + labels.front());
    }
  }
}

// The formats of one file.
std::string text_of(const ReportOptions& options, const PageContent& content) {
  if (options.format == "chrome") return chrome_trace(content.steps.front());
  if (options.format == "memory-viz") return memory_snapshot(content.steps.front());
  if (options.format == "json") return json_of(tables_of(content.runs, content.steps));
  return page_of("neap report: " + (options.files.size() == 1
                                        ? name_of(options.files.front())
                                        : std::to_string(options.files.size()) + " files"),
                 content);
}

std::string hint_of(const std::string& format) {
  if (format == "html") return kHowToOpen;
  if (format == "chrome") return "; https://ui.perfetto.dev and chrome://tracing open it";
  if (format == "memory-viz") return "; https://pytorch.org/memory_viz opens it";
  return format == "tensorboard" ? "; tensorboard --logdir opens it" : "";
}

// The formats of several files.
void add_files(ReportFolder& folder, const ReportOptions& options, const PageContent& content) {
  if (options.format == "tensorboard") {
    for (const TrainingRun& run : content.runs) {
      const ScalarFile file = scalars_of(run);
      folder.add(fs::path(run.name) / file.name, file.bytes);
    }
    return;
  }
  for (const DataTable& table : tables_of(content.runs, content.steps)) {
    folder.add(table.name + ".csv", csv_of(table));
  }
}

}  // namespace

int report(const ReportOptions& options, Output& output) {
  if (!options.budget.empty()) (void)parse_wanted_budget(options.budget);
  // No operators run here, so no operator could throw after an interrupt.
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  std::vector<Named> files;
  for (const std::string& file : options.files) {
    files.push_back(named(file));
    check_files_differ({{"FILE", files.back().file.string()}, {"-o", options.out}});
  }
  check_fits(options, files);
  const bool is_folder = options.format == "csv" || options.format == "tensorboard";
  std::optional<ReportFolder> folder;
  if (is_folder) folder.emplace("-o", options.out);
  ReportFile out("-o", is_folder ? fs::path() : fs::path(options.out));
  PageContent content;
  for (const Named& one : files) {
    if (one.kind == Kind::Run) content.runs.push_back(read_run(one.file));
    if (one.kind == Kind::Measured) content.measured.push_back(read_measured(one.file));
  }
  name_runs(content.runs);
  for (const Named& one : files) {
    if (one.kind == Kind::Trace) content.steps.push_back(step_of(one.file, options));
  }
  add_ways(content, files);
  if (folder) {
    add_files(*folder, options, content);
    folder->finish();
  } else {
    out.write([&](std::ostream& file) { file << text_of(options, content); });
  }
  output.line("wrote " + options.out + hint_of(options.format));
  return 0;
}

}  // namespace neap::app
