// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What neap completion and neap man print. Both are made of the options that --help shows.
#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace neap::app {

// A script that bash reads: completes commands, options, and values that are one of a few words.
std::string bash_completion(const CLI::App& app);
// A page for man, in roff with the macros of man(7).
std::string man_page(const CLI::App& app);

}  // namespace neap::app
