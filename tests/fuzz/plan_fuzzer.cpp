// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Any bytes are a plan, or are refused with a FormatError. Every plan that was read is written and
// read again as an equal one, and a trace allows it or throws BrokenPlan.
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

// A step with one of each thing that has a rule: storages of the head and later ones, kept,
// released, several outputs of one operator, written into, written once, an operator that must
// not run again, and a tier. The corpus has plans for it.
Trace small_step() {
  return {
      .events = {Given{.storage = 0, .bytes = 100, .kind = StorageKind::Parameter},
                 Given{.storage = 1, .bytes = 8, .kind = StorageKind::Buffer},
                 Operator{.name = "a", .reads = {0}, .makes = {{2, 40}, {3, 4}}, .ns = 5},
                 Operator{.name = "b",
                          .reads = {2},
                          .mutates = {3},
                          .mutates_once = {1},
                          .makes = {{4, 30}},
                          .ns = 7,
                          .workspace = 60},
                 Given{.storage = 5, .bytes = 10, .kind = StorageKind::Input}, Release{4},
                 Operator{
                     .name = "c", .reads = {5}, .makes = {{6, 20}}, .ns = 3, .replayable = false},
                 Release{5}, Operator{.name = "d", .reads = {2, 3, 6}, .mutates = {0}, .ns = 2},
                 Release{2}, Release{3}, Release{6}},
      .keep = {0, 1},
      .out_bytes_per_s = 3'000'000'000,
      .in_bytes_per_s = 7'000'000'000};
}

void check(const std::string& input) {
  const std::optional<Plan> plan = fuzz::round_trip(
      input, [](std::istream& in, const char* name) { return read_plan(in, name); }, write_plan);
  if (!plan) return;
  static const Trace trace = small_step();
  try {
    const Outcome outcome = simulate(trace, *plan);
    // Each storage exists at most twice at a time.
    expect(outcome.peak >= 118 && outcome.peak <= 2 * 212 + 60, "the peak is one of this trace");
    expect(outcome.ns - outcome.waited_ns >= 17 && outcome.waited_ns >= 0,
           "every operator takes its time");
    // Each storage has at most one copy at a time.
    expect(outcome.offloaded_peak >= 0 && outcome.offloaded_peak <= 212, "the tier has its copies");
    const Plan claims{.budget = outcome.peak,
                      .predicted_peak = outcome.peak,
                      .predicted_ns = outcome.ns,
                      .steps = plan->steps,
                      .predicted_offloaded = outcome.offloaded_peak};
    expect(verify(trace, claims).ns == outcome.ns,
           "what simulate() says is what verify() asks for");
  } catch (const BrokenPlan& error) {
    expect(error.line >= 1 && error.line <= static_cast<std::int64_t>(plan->steps.size()) + 2,
           "an error names a line of the plan");
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
  const std::vector<std::string>& lines = mutator.mutate();
  return neap::fuzz::put(neap::fuzz::LineMutator::joined(lines), bytes, most);
}
// NOLINTEND(readability-identifier-naming)
