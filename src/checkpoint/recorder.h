// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// checkpoint/recorder.h: from what the engine tells of a step to its trace.
//
// Note [Untouched bytes]
// What lives while a step runs counts for its peak, whether an operator of the step touches it or not: what was there before,
// old gradients that go with the first line of a step, batches that a loader makes ahead. The allocator's count of live bytes
// before each operator, less what the trace knows by then, is what such storages take. Where it grows, a storage arrives that
// nobody reads; where it falls, one is released, the newest first. So the peak of a trace is the allocator's, to the byte,
// but where data arrives in the very gap between two operators that something else is let go of: a trace has arrivals first.
#pragma once

#include "engine/observer.h"

#include <neap/checkpoint.h>
#include <neap/planner.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace neap::checkpointing {

// A step that was watched, under a budget or without: what is evicted counts as there. Positions count operators: position i is between operator i - 1 and operator i.
struct Recording {
  struct Arrival {
    graph::Given given;
    std::int64_t position;  // 0: there from the start
    std::int64_t met;       // the first operator that uses it
  };
  struct Release {
    graph::StorageId storage;
    std::int64_t position;

    bool operator==(const Release&) const = default;
  };

  std::vector<graph::Operator> operators;
  std::vector<Arrival> arrivals;  // in the order in which they were met
  std::vector<Release> releases;
  std::vector<graph::StorageId> keep;
  std::vector<std::uint32_t> numbers;     // the engine's, of each storage
  std::vector<std::uint64_t> signatures;  // the engine's, of each operator
  std::vector<std::uint64_t>
      calls;  // the engine's, up to each operator; empty: not of this step alone
  std::vector<planner::Repeat> reruns;  // in their order
  // Operators whose results the rules of regions save: not to be run again, or where that leaves a plan.
  std::vector<std::int64_t> must_save, prefer_save;
  graph::StorageId next = 0;  // the first id that is free
  // Live bytes of no storage above: at the start, before each operator, at the end. See Note [Untouched bytes].
  std::vector<std::int64_t> untouched;
};

// Makes a recording. Ids count from 0 in the order in which the engine meets storages or sees them made, so the same step has the
// same ids; and where a scope has just been opened, they are the engine's numbers.
class Recorder final : public engine::Observer {
 public:
  // From here on. REQUIRES: the tensors live as long as the recorder.
  explicit Recorder(const std::vector<KnownTensor>& known);

  void ran(const engine::OperatorRun& run) override;
  void replayed(const engine::Node& node) override;
  void not_replayable(const engine::Block& block) override;
  void released(const engine::Block& block) override;

  // Until here.
  Recording finish();

 private:
  struct Storage {
    graph::StorageId id;
    std::int64_t bytes;
    std::int64_t maker;  // an operator; -1: given
  };
  Storage* storage_of(const engine::Block& block);
  void refer(std::vector<graph::StorageId>& ids, const engine::Block& block);
  graph::StorageId number(const engine::Block& block);
  void meet(const engine::Block& block);
  void meet_all(const engine::OperatorRun& run);
  void write_once(graph::Operator& op, const engine::Block& block);
  void write_whole(const engine::OperatorRun& run);
  void name_what_is_trained();
  void take_decision(const engine::Block& block, const Storage& storage);
  [[nodiscard]] std::int64_t position() const {
    return static_cast<std::int64_t>(recording_.operators.size());
  }

  Recording recording_;
  std::unordered_map<const void*, graph::StorageKind> kinds_;  // by their data
  std::unordered_map<const engine::Block*, Storage> storages_;
  std::unordered_map<graph::StorageId, std::int64_t> empty_;  // not used yet: their makers
  std::vector<std::int64_t> allocations_;                     // before each operator
  std::vector<std::uint64_t> sequences_;                      // the engine's, of each operator
  std::int64_t allocations_before_;
  std::int64_t known_ = 0;                 // live bytes of storages_
  std::vector<const engine::Block*> met_;  // by the operator at hand
  // Bytes of what was met later, to be taken from recording_.untouched: [first, last) of it.
  struct Correction {
    std::int64_t first, last, bytes;
  };
  std::vector<Correction> corrections_;
  bool backward_seen_ = false;
};

// What the first difference of two recordings is, but for times; empty: none.
std::string first_difference(const Recording& a, const Recording& b);

// One of several without a difference. REQUIRES: there is one. Times are medians. What other threads do to memory is taken as the
// worst that was seen: the largest workspace, the earliest arrival.
Recording merge(std::vector<Recording> steps);

// A trace file's order: what is there from the start first, then each thing in its place.
graph::Trace make_trace(const Recording& recording, const std::string& label);

}  // namespace neap::checkpointing
