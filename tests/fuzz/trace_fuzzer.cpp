// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Any bytes are a trace, or are refused with a FormatError. Every trace that was read is written
// and read again as an equal one, and has a plain run.
#include "fuzz/line_mutator.h"
#include "fuzz/round_trip.h"

#include <neap/graph.h>

#include <istream>
#include <optional>
#include <string>
#include <vector>

namespace neap::graph {
namespace {

using fuzz::expect;

void check(const std::string& input) {
  const std::optional<Trace> trace = fuzz::round_trip(
      input, [](std::istream& in, const char* name) { return read_trace(in, name); }, write_trace);
  if (!trace) return;
  // Throws nothing: every trace that was read has a plain run.
  const Outcome outcome = verify(*trace, plain_plan(*trace));
  expect(outcome.reruns == 0, "a plain run reruns nothing");
  // The plan holds what is kept at the end, even where the program lets go of it.
  expect(run_plainly(*trace).peak <= outcome.peak, "both plain runs have one peak");
}

void number_operators(std::vector<std::string>& lines) {
  const std::string key = "{\"op\":";
  int number = 0;
  for (std::string& line : lines) {
    if (!line.starts_with(key)) continue;
    const std::size_t end = line.find_first_not_of("0123456789", key.size());
    if (end == std::string::npos) continue;
    line.replace(key.size(), end - key.size(), std::to_string(number++));
  }
}

}  // namespace
}  // namespace neap::graph

// NOLINTBEGIN(readability-identifier-naming): the names that libFuzzer calls.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t count) {
  neap::graph::check(std::string(reinterpret_cast<const char*>(bytes), count));
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(unsigned char* bytes, std::size_t count,
                                               std::size_t most, unsigned seed) {
  const std::string text(reinterpret_cast<const char*>(bytes), count);
  neap::fuzz::LineMutator mutator(text, seed);
  std::vector<std::string>& lines = mutator.mutate();
  // Otherwise moved and copied operators would be refused for their numbers alone.
  if (seed % 8 != 0) neap::graph::number_operators(lines);
  return neap::fuzz::put(neap::fuzz::LineMutator::joined(lines), bytes, most);
}
// NOLINTEND(readability-identifier-naming)
