// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/graph/plan_verdicts.h: plans written as lists of steps, and the verdict on a plan, by
// simulate() and by the naive simulator.
#pragma once

#include "graph/naive_simulator.h"

#include <neap/graph.h>

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <vector>

namespace neap::graph {

using Steps = std::vector<Step>;

inline Step run(std::int64_t op) { return {Step::Action::Run, op}; }
inline Step rerun(std::int64_t op) { return {Step::Action::Rerun, op}; }
inline Step drop(StorageId storage) { return {Step::Action::Free, storage}; }
inline Step offload(StorageId storage) { return {Step::Action::Offload, storage}; }
inline Step load(StorageId storage) { return {Step::Action::Load, storage}; }

inline Steps operator+(Steps steps, const Steps& more) {
  steps.insert(steps.end(), more.begin(), more.end());
  return steps;
}

// The figures of a valid plan, or the line of the first rule that a plan breaks.
struct Verdict {
  std::optional<std::int64_t> broken_line = std::nullopt;
  std::int64_t peak = 0, ns = 0, reruns = 0;
  std::int64_t waited_ns = 0, offloaded_peak = 0;

  bool operator==(const Verdict&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Verdict& verdict) {
  if (verdict.broken_line) return out << "broken in line " << *verdict.broken_line;
  return out << verdict.peak << " bytes, " << verdict.ns << " ns, " << verdict.waited_ns
             << " of them waits, " << verdict.reruns << " reruns, " << verdict.offloaded_peak
             << " bytes in the tier";
}

inline Verdict fine(std::int64_t peak, std::int64_t ns, std::int64_t reruns) {
  return {std::nullopt, peak, ns, reruns};
}
inline Verdict fine(std::int64_t peak, std::int64_t ns, std::int64_t reruns, std::int64_t waited_ns,
                    std::int64_t offloaded_peak) {
  return {std::nullopt, peak, ns, reruns, waited_ns, offloaded_peak};
}
inline Verdict broken(std::int64_t line) { return {line}; }

inline Verdict simulated(const Trace& trace, const Plan& plan) {
  try {
    const Outcome outcome = simulate(trace, plan);
    return fine(outcome.peak, outcome.ns, outcome.reruns, outcome.waited_ns,
                outcome.offloaded_peak);
  } catch (const BrokenPlan& error) {
    return broken(error.line);
  }
}

inline Verdict naive(const Trace& trace, const Plan& plan) {
  const NaiveOutcome outcome = naive_simulate(trace, plan);
  if (outcome.broken_line) return broken(*outcome.broken_line);
  return fine(outcome.peak, outcome.ns, outcome.reruns, outcome.waited_ns, outcome.offloaded_peak);
}

inline void expect(const Trace& trace, const Steps& steps, const Verdict& verdict) {
  const Plan plan{.steps = steps};
  EXPECT_EQ(simulated(trace, plan), verdict);
  EXPECT_EQ(naive(trace, plan), verdict) << "by the naive one";
}

// A parameter 0 of 100 bytes. The operators make 10 (40 bytes), 11 (20) and 12 (8) in turn. The
// last one reads 10 again.
inline Trace row() {
  return {
      .events = {Given{.storage = 0, .bytes = 100, .kind = StorageKind::Parameter},
                 Operator{.name = "a", .reads = {0}, .makes = {{10, 40}}, .ns = 5, .workspace = 29},
                 Operator{.name = "b", .reads = {10}, .makes = {{11, 20}}, .ns = 3},
                 Operator{.name = "c", .reads = {10, 11}, .makes = {{12, 8}}, .ns = 2}, Release{10},
                 Release{11}},
      .keep = {12}};
}

}  // namespace neap::graph
