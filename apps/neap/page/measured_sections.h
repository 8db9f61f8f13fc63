// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The sections of a report about what was measured: neap bench --json, neap analyze --json, and
// tables of other ways to train a model. No LibTorch here.
#pragma once

#include "page/page.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace neap::app {

// What a command has measured: the object that its --json writes.
struct Measured {
  std::string file;
  Json content;
};

// Whether the object is one of neap bench, or of neap analyze.
bool is_of_bench(const Json& content);
bool is_of_analyze(const Json& content);
// Throws: Error, with the path, for a file that cannot be read or is none of these.
Measured read_measured(const std::filesystem::path& file);
void add_measured_sections(Page& page, const Measured& measured);

// A way to train a step, with what it takes: a point beside the frontier of a traced step.
struct OtherWay {
  std::string name;
  double share = 0;  // of what the plain step needs above what is there before it
  double time = 1;   // of a step, over that of a plain one
  Json ns;           // of a step; null: not known
};

// The rows of neap bench that are of the step with this label.
std::vector<OtherWay> ways_of(const Measured& bench, const std::string& label);
// The labels of its rows, each once.
std::vector<std::string> labels_of(const Measured& bench);

// Whether the file is a table of other ways: way,share,time.
bool is_table_of_ways(const std::filesystem::path& file);
// Reads such a table: a name, a share in percent, a time over that of the plain step. Lines that
// begin with # are left out. Throws: Error, with the path and the line.
std::vector<OtherWay> read_ways(const std::filesystem::path& file);

}  // namespace neap::app
