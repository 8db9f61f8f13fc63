// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The TOML file that --config names.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace neap::app {

// Its keys are the long options of `command`; what the command line names stays as it is.
// Throws: UsageError, with file and line.
void read_config(CLI::App& command, const std::string& path);

}  // namespace neap::app
