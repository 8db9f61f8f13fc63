// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap runs: finds the trainings of neap train --out, and lists, shows and compares them.
#include "commands.h"
#include "page/run_sections.h"
#include "run_database.h"

#include <neap/report.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <deque>
#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <vector>

namespace neap::app {
namespace {

namespace fs = std::filesystem;

void leave_out(const fs::path& path, const std::error_code& why) {
  say("left out: " + path.string() + ": it cannot be looked into: " + why.message());
}

// Follows links to folders. A folder that can be reached in several ways is looked into once, and
// not by a link where there is another way.
std::vector<fs::path> records_in(const fs::path& top) {
  std::vector<fs::path> files;
  std::set<fs::path> seen;  // a link may lead to a folder that it lies in
  std::deque<fs::path> folders{top};
  while (!folders.empty()) {
    const fs::path folder = folders.front();
    folders.pop_front();
    std::error_code error;
    const fs::path place = fs::canonical(folder, error);
    if (!error && !seen.insert(place).second) continue;
    fs::directory_iterator at;
    if (!error) at = fs::directory_iterator(folder, error);
    for (; !error && at != fs::directory_iterator(); at.increment(error)) {
      if (at->path().filename() == "run.jsonl") {
        files.push_back(at->path());
        continue;
      }
      std::error_code unknown;
      const bool is_folder = at->is_directory(unknown);
      if (unknown) {
        leave_out(at->path(), unknown);
      } else if (is_folder && fs::is_symlink(at->symlink_status(unknown))) {
        folders.push_back(at->path());
      } else if (is_folder) {
        folders.push_front(at->path());
      }
    }
    if (error) leave_out(folder, error);
  }
  return files;
}

// The files run.jsonl of a folder and all below it, or the file itself.
std::vector<fs::path> files_below(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};  // read_run() says what is wrong with it
  if (fs::exists(path / "run.jsonl", error)) return {path / "run.jsonl"};
  std::vector<fs::path> files = records_in(path);
  if (files.empty()) {
    throw Error(path.string() +
                ": there is no run.jsonl in it or below; neap train --out DIR writes it");
  }
  std::ranges::sort(files);
  return files;
}

std::vector<TrainingRun> runs_of(const RunsOptions& options) {
  std::vector<TrainingRun> runs;
  std::set<fs::path> seen;
  for (const std::string& folder : options.folders) {
    for (const fs::path& file : files_below(folder)) {
      std::error_code error;
      if (!seen.insert(fs::weakly_canonical(file, error)).second) continue;
      try {
        runs.push_back(read_run(file));
      } catch (const Error& error) {
        const bool is_named = file == folder || file == fs::path(folder) / "run.jsonl";
        if (is_named || options.action != "list") throw;
        say(std::string("left out: ") + error.what());  // the others can be listed
      }
    }
  }
  name_runs(runs);
  return runs;
}

const Json* find(const RunColumns& run, const std::string& name) {
  const auto found = std::ranges::find(run, name, &RunColumns::value_type::first);
  return found == run.end() || found->second.is_null() ? nullptr : &found->second;
}

// For people: bytes as KiB, few digits, - for what is not known.
std::string text_of(const std::string& name, const Json* value) {
  if (value == nullptr) return "-";
  if (value->is_string()) return value->get<std::string>();
  if (name.ends_with("_bytes") && value->is_number_integer()) {
    return Bytes(value->get<std::int64_t>()).text();
  }
  return value->is_number_float() ? format_number("%.4g", value->get<double>()) : value->dump();
}

Json object_of(const RunColumns& run) {
  Json object = Json::object();
  for (const auto& [name, value] : run) object[name] = value;
  return object;
}

std::string list_of(const std::vector<RunColumns>& runs) {
  constexpr std::array kNames = {"run",        "began",          "model",  "budget",
                                 "steps",      "ending",         "loss",   "accuracy",
                                 "peak_bytes", "step_ms_median", "replays"};
  std::vector<report::Column> columns;
  for (const char* const name : kNames) {
    const bool is_text = std::string(name) == "run" || std::string(name) == "began";
    columns.push_back({name, is_text ? report::Align::Left : report::Align::Right});
  }
  report::Table table(std::move(columns));
  for (const RunColumns& run : runs) {
    std::vector<std::string> cells;
    for (const char* const name : kNames) cells.push_back(text_of(name, find(run, name)));
    table.add_row(std::move(cells));
  }
  return table.text();
}

// A row for each name, a column for each run. `differing`: of what was the same, nothing.
std::string side_by_side(const std::vector<RunColumns>& runs, bool differing) {
  std::vector<std::string> names;
  for (const RunColumns& run : runs) {
    for (const auto& [name, value] : run) {
      if (name != "run" && std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  std::vector<report::Column> columns{{"", report::Align::Left}};
  for (const RunColumns& run : runs) columns.push_back({text_of("run", find(run, "run"))});
  report::Table table(std::move(columns));
  for (const std::string& name : names) {
    std::vector<Json> values;
    std::vector<std::string> cells{name};
    for (const RunColumns& run : runs) {
      const Json* const value = find(run, name);
      values.push_back(value == nullptr ? Json() : *value);
      cells.push_back(text_of(name, value));
    }
    const bool is_same =
        std::ranges::all_of(values, [&](const Json& value) { return value == values.front(); });
    if (!differing || !is_same) table.add_row(std::move(cells));
  }
  return table.rows() > 0 ? table.text() : "the runs do not differ\n";
}

// Throws: UsageError when the action takes another number of trainings than were chosen.
void check_count(std::size_t chosen, std::size_t all, const RunsOptions& options) {
  if (options.action == "list") return;
  if (chosen == 0) {
    throw UsageError("runs: none of " + std::to_string(all) + " fits --where '" + options.where +
                     "'; list without --where shows what they have");
  }
  std::string left = chosen == 1 ? "there is one" : "there are " + std::to_string(chosen);
  if (!options.where.empty()) {
    left = std::to_string(chosen) + " of " + std::to_string(all) +
           (chosen == 1 ? " fits --where" : " fit --where");
  }
  if (options.action == "show" && chosen != 1) {
    throw UsageError("runs: show takes one training, and " + left +
                     "; name its folder, or use list");
  }
  if (options.action == "compare" && chosen < 2) {
    throw UsageError("runs: compare takes two trainings or more, and " + left + "; use show");
  }
}

}  // namespace

int runs(const RunsOptions& options, Output& output) {
  // No operators run here, so no operator could throw after an interrupt.
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  std::vector<RunColumns> all;
  for (const TrainingRun& run : runs_of(options)) all.push_back(columns_of(run));
  std::vector<RunColumns> chosen;
  for (const std::size_t i : RunDatabase(all).select(options.where, options.sort)) {
    chosen.push_back(all[i]);
  }
  check_count(chosen.size(), all.size(), options);
  if (options.json) {
    Json list = Json::array();
    for (const RunColumns& run : chosen) list.push_back(object_of(run));
    output.json(Json{{"runs", list}});
  } else if (options.action == "list") {
    output.text(printable(list_of(chosen)));
  } else {
    output.text(printable(side_by_side(chosen, options.action == "compare")));
  }
  return 0;
}

}  // namespace neap::app
