// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The sections of a report about trainings: what neap train --out writes to run.jsonl, or --json to
// standard output. No LibTorch here.
#pragma once

#include "page/page.h"

#include <filesystem>
#include <string>
#include <vector>

namespace neap::app {

struct TrainingRun {
  std::filesystem::path file;  // or its folder
  std::string name;            // add_run_sections() finds it
  Json start;                  // the line "run"; null where there is none
  std::vector<Json> steps;
  std::vector<Json> evaluations;
  Json summary;  // null while the training goes on, or when it was killed
};

// Throws: Error, with the path and the line, for a file that is none of a training. Its last line
// may be cut short, as by a kill.
TrainingRun read_run(const std::filesystem::path& file);
void add_run_sections(Page& page, std::vector<TrainingRun> runs);

}  // namespace neap::app
