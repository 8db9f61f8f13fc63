// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The sections of a report about trainings: what neap train --out writes to run.jsonl, or --json to
// standard output. No LibTorch here.
#pragma once

#include "page/page.h"

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

namespace neap::app {

struct TrainingRun {
  std::filesystem::path file;  // or its folder
  std::string name;            // name_runs() finds it
  Json start;                  // the last line "run"; null where there is none
  std::vector<Json> steps;
  std::vector<Json> evaluations;
  Json summary;  // null while the training goes on, or when it was killed

  // A training that went on has several.
  struct Part {
    std::size_t first_step;  // an index of `steps`
    std::string began;       // as 2026-01-31T12:00:00Z; empty: unknown
  };
  std::vector<Part> parts;
};

// What a table says of a training. Null: not known.
struct RunFigures {
  Json ending;  // a text
  Json loss, accuracy, test_loss, best_step, best_accuracy, best_test_loss;
  Json budget_bytes, peak_bytes, plain_peak_bytes, step_ms_median;
  Json against_plain_median;
  std::int64_t replays = 0, planned_steps = 0;
};
RunFigures figures_of(const TrainingRun& run);

// Discarded where it is no JSON, or so deep that a copy would take all of the stack.
Json parsed(const std::string& text);
Json parsed(std::istream& text);

// Null where the line has no such key, or where it is no number.
Json number_of(const Json& line, const char* key);
// The number of a line's step; 0 where it has none.
std::int64_t step_of(const Json& line);

// Throws: Error, with the path and the line, for a file that is none of a training. Its last line
// may be cut short, as by a kill.
TrainingRun read_run(const std::filesystem::path& file);
// The same of lines that are no file; `name`: for messages.
TrainingRun read_run(std::istream& lines, const std::string& name);
// The last part of each path, and as many before it as make the names differ. A path that is there
// twice has a number.
std::vector<std::string> names_of(const std::vector<std::filesystem::path>& files);
// Names them so.
void name_runs(std::vector<TrainingRun>& runs);
// REQUIRES: they have names.
void add_run_sections(Page& page, const std::vector<TrainingRun>& runs);

}  // namespace neap::app
