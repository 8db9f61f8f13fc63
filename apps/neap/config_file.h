// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Reads the TOML file that --config names.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace neap::app {

// The keys of the file are the long options of `command`. Options on the command line win.
// Throws: UsageError, with file and line.
void read_config(CLI::App& command, const std::string& path);

}  // namespace neap::app
