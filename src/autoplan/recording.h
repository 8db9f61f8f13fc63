// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/recording.h: what a step did, as plain data, and the trace that is made from it.
//
// Note [Untouched bytes]
// Everything that lives while a step runs counts for its peak, even when no operator of the step
// touches it: storages from before the step, old gradients that are freed in the step's first line,
// batches that a loader makes ahead. Their bytes are the allocator's live bytes before each
// operator, less the bytes of the storages that the trace knows by then. Where this number grows, a
// storage arrives that nobody reads. Where it falls, one is released, the newest first. So the peak
// of a trace is the allocator's, to the byte. The exception is data that arrives in the same gap
// between two operators in which something else is released, because a trace has arrivals first.
#pragma once

#include <neap/graph.h>
#include <neap/planner.h>

#include <cstdint>
#include <string>
#include <vector>

namespace neap::autoplan {

// A step that was watched, with a budget or without. An evicted storage counts as present. Position
// i is the gap between operator i - 1 and operator i.
struct Recording {
  struct Arrival {
    graph::Given given;
    std::int64_t position;  // 0: from the start
    std::int64_t met;       // the first operator that uses it
  };
  struct Release {
    graph::StorageId storage;
    std::int64_t position;

    bool operator==(const Release&) const = default;
  };

  std::vector<graph::Operator> operators;
  std::vector<Arrival> arrivals;  // in the order in which operators first use them
  std::vector<Release> releases;
  std::vector<graph::StorageId> keep;
  std::vector<std::uint32_t> numbers;     // the engine's number of each storage
  std::vector<std::uint64_t> signatures;  // the engine's signature of each operator
  // For each operator, the engine's hash of all operators up to it. Empty when the hash also covers
  // operators outside of the recording.
  std::vector<std::uint64_t> calls;
  std::vector<planner::Rerun> reruns;  // in the order in which they ran
  // Operators whose results the rules of regions save: always (MustSave), or where a plan remains
  // (PreferSave).
  std::vector<std::int64_t> must_save, prefer_save;
  graph::StorageId next = 0;  // the first unused id
  // Live bytes that belong to none of the storages above: at the start, before each operator, and
  // at the end. See Note [Untouched bytes].
  std::vector<std::int64_t> untouched;
  // What the allocator held of the system: at the start, and at the end of each operator. Empty:
  // nobody wanted it.
  std::vector<std::int64_t> reserved;
};

// Describes the first difference of two recordings. Times, workspaces and `replayable` are not
// compared. Empty: there is none.
std::string first_difference(const Recording& a, const Recording& b);

// Merges recordings without a difference into one. REQUIRES: at least one. Times become medians.
// For what other threads do to memory, the worst that was seen counts: the largest workspace, the
// earliest arrival, the most untouched bytes.
Recording merge(std::vector<Recording> steps);

// Puts everything in the order of a trace file: first what is there from the start, then each event
// in its place.
graph::Trace make_trace(const Recording& recording, const std::string& label);

}  // namespace neap::autoplan
