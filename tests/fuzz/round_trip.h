// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/fuzz/round_trip.h: what the fuzzers expect of a reader and its writer.
#pragma once

#include <neap/graph.h>

#include <cstdlib>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>

namespace neap::fuzz {

inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::cerr << "fuzzer: broken: " << what << '\n';
  std::abort();
}

// What `text` holds, after it was written and read again; nothing when it is refused. The calls are
// read(in, name) and write(value, out).
template <class Read, class Write>
auto round_trip(const std::string& text, Read read, Write write) {
  const auto value_of = [&](const std::string& from) {
    std::istringstream in(from);
    using Value = decltype(read(in, "fuzzed"));
    try {
      return std::optional<Value>(read(in, "fuzzed"));
    } catch (const graph::FormatError& error) {
      expect(error.line >= 1, "an error names its line");
      return std::optional<Value>();
    }
  };
  const auto text_of = [&](const auto& value) {
    std::ostringstream out;
    write(value, out);
    return out.str();
  };
  auto value = value_of(text);
  if (!value) return value;
  const std::string written = text_of(*value);
  const auto again = value_of(written);
  expect(again == value, "what is written and read again is equal");
  expect(text_of(*again) == written, "and is written the same again");
  return value;
}

}  // namespace neap::fuzz
