// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Any text is a value of an option, or is refused: a number of bytes, a share, a time, a number, a
// list. What is read is in its range, and is read again as the same one.
#include "command_line.h"
#include "data_options.h"
#include "fuzz/round_trip.h"
#include "save_interval.h"
#include "values.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

namespace neap::app {
namespace {

using fuzz::expect;

void check_bytes(const std::string& text) {
  try {
    const Bytes bytes = Bytes::parse(text);
    expect(bytes.count() >= 0, "a number of bytes is none below 0");
    expect(Bytes::parse(std::to_string(bytes.count())) == bytes, "a number of bytes is itself");
    (void)bytes.text();
  } catch (const InvalidArgument& error) {
    // what() ends at the first NUL of the text.
    expect(text.find('\0') != std::string::npos ||
               std::string(error.what()).find("at position ") != std::string::npos,
           "a refusal names a place");
  }
}

void check_interval(const std::string& text) {
  try {
    const SaveInterval interval = parse_interval(text);
    expect(interval.steps >= 0 && interval.time.count() >= 0, "an interval is none below 0");
    expect(text.empty() == (interval.steps == 0 && interval.time.count() == 0),
           "no interval but an empty one is none");
    expect(interval.steps == 0 || interval.time.count() == 0, "it is of steps or of time");
  } catch (const UsageError&) {
  }
}

// What a check lets through it lets through unchanged the next time.
void check(const CLI::Validator& validator, const std::string& text) {
  std::string value = text;
  if (!validator(value).empty()) return;
  std::string again = value;
  expect(validator(again).empty() && again == value, "a value that was taken is taken again");
}

void check_data_options(const std::string& text) {
  if (const auto split = parse_split(text)) {
    expect(parse_split(text_of_split(*split)) == split, "a share is read again");
  }
  if (const auto scale = parse_scale(text); scale && scale->scale) {
    expect(parse_scale(text_of_scale(scale->scale)).has_value(), "a scale is read again");
  }
  if (const auto augmentation = parse_augmentation(text)) {
    expect(parse_augmentation(text_of_augmentation(*augmentation)).has_value(),
           "what changes pictures is read again");
  }
}

void check_all(const std::string& text) {
  check_bytes(text);
  check_interval(text);
  check(whole_number(std::numeric_limits<std::int64_t>::min()), text);
  check(whole_number(0), text);
  check(whole_number_or_auto(), text);
  check(number(0, 1), text);
  check(seconds(), text);
  if (const auto percent = parse_percent(text))
    expect(std::isfinite(*percent), "a share is finite");
  check_data_options(text);
  (void)suggestion(text.substr(0, 64), {"train", "trace", "plan"});
}

}  // namespace
}  // namespace neap::app

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t count) {
  neap::app::check_all({reinterpret_cast<const char*>(bytes), count});
  return 0;
}
