// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The TOML files of --config and --write-config.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace neap::app {

// Gives `command` the options of a file, whose keys are their long names. Those that stand in
// `words`, the command line, win.
// No library with a model may stand in it, because its code would run; and no path that leads out
// of the folder that neap runs in, if something is written there.
// REQUIRES: the command line was not parsed yet, so that what it needs may stand in the file.
// Throws: UsageError, with file and line.
void read_config(CLI::App& command, const std::string& path, const std::vector<std::string>& words);

// The options that `command` was given, as such a file. The others stand in it as comments, and so
// does what no file may say.
std::string config_text(CLI::App& command);

// Throws: UsageError when something that `command` writes would take the place of the file.
void check_config_stays(CLI::App& command, const std::string& config);

}  // namespace neap::app
