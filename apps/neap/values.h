// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Checks for the values of options, for CLI11. CLI11's own checks would read 010 as 8, accept nan
// as a number, and replace a number that is too large by the largest possible one.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace neap::app {

// The largest number that the command line takes.
inline constexpr std::int64_t kMost = std::int64_t{1} << 40;

// Decimal digits, with an optional sign if `least` is below 0.
CLI::Validator whole_number(std::int64_t least, std::int64_t most = kMost);
// A whole number from 1 on, or auto.
CLI::Validator whole_number_or_auto();
// A number as people write it: 0.001 or 1e-3.
CLI::Validator number(double least, double most);
// A time of more than 0 and at most a year.
CLI::Validator seconds();
// `what`: the name in the help, such as FILE.
CLI::Validator not_empty(const std::string& what);

// The path of something that is written: is_written() knows it by this check. So no file of
// --config names one elsewhere, and none takes the place of that file. It may be empty, or - for
// output.
CLI::Validator written_path();
// The same of a path that is neither. `what`: as above.
CLI::Validator written_path(const std::string& what);
bool is_written(CLI::Option& option);

// A regular file that exists. Reading a pipe could wait for ever.
CLI::Validator existing_file();

// The number of "30%" or "30 %". Absent when it is no finite number.
std::optional<double> parse_percent(std::string_view text);

// Returns a text such as "; did you mean 'train'?", for the one of `known` that is nearest to
// `written`. Empty when none is near.
std::string suggestion(const std::string& written, const std::vector<std::string>& known);

}  // namespace neap::app
