// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What the values of options may be, as CLI11 wants it. CLI11 itself takes 010 for 8, nan for a number, and for one that is too
// large the largest that there is.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace neap::app {

// Numbers on the command line go up to here.
inline constexpr std::int64_t kMost = std::int64_t{1} << 40;

// Decimal digits, with a sign where `least` is below 0.
CLI::Validator whole_number(std::int64_t least, std::int64_t most = kMost);
// As people write them, 0.001 or 1e-3.
CLI::Validator number(double least, double most);
// More than 0, and at most a year.
CLI::Validator seconds();
// `what`: as FILE, for the help.
CLI::Validator not_empty(const std::string& what);

// Of a file that is there; a pipe could be waited for for ever.
CLI::Validator existing_file();

// The number of "30%" or "30 %"; absent when it is none that is finite.
std::optional<double> parse_percent(std::string_view text);

// "; did you mean 'train'?" for the one of `known` that is nearest to what was written; empty when none is near.
std::string suggestion(const std::string& written, const std::vector<std::string>& known);

}  // namespace neap::app
