// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "save_interval.h"

#include "command_line.h"

#include <charconv>
#include <system_error>

namespace neap::app {
namespace {

constexpr std::int64_t kMostNumber = 1'000'000;

[[noreturn]] void refuse_interval(const std::string& text) {
  throw UsageError("--save-every: '" + text + "' is no number of steps and no time from 1 to " +
                   std::to_string(kMostNumber) + "; write 200, 30s, 10m or 2h");
}

}  // namespace

SaveInterval parse_interval(const std::string& text) {
  if (text.empty()) return {};
  std::int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || number < 1 || number > kMostNumber) refuse_interval(text);
  const std::string unit(stop, end);
  if (unit.empty()) return {.steps = number};
  if (unit == "s") return {.time = std::chrono::seconds(number)};
  if (unit == "m") return {.time = std::chrono::minutes(number)};
  if (unit == "h") return {.time = std::chrono::hours(number)};
  refuse_interval(text);
}

}  // namespace neap::app
