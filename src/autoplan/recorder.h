// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/recorder.h: makes a recording from what the engine tells about a step.
#pragma once

#include "autoplan/recording.h"
#include "engine/observer.h"

#include <neap/graph.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <vector>

namespace neap::autoplan {

// Ids count from 0, in the order in which the engine meets storages or sees them made. So the same
// step has the same ids. If the scope has just been opened, the ids are the engine's numbers.
class Recorder final : public engine::Observer {
 public:
  // Records from now on. `kinds`: the known kinds of storages, by the address of their data.
  // REQUIRES: these storages live as long as the recorder.
  // When more than `most` operators have run, or the system has no memory for them, it forgets them
  // and records no longer.
  explicit Recorder(std::unordered_map<const void*, graph::StorageKind> kinds = {},
                    std::size_t most = std::numeric_limits<std::size_t>::max());

  // From now on also Recording::reserved. REQUIRES: no operator has run yet.
  void watch_reserved();

  void ran(const engine::OperatorRun& run) noexcept override;
  void replayed(const engine::Node& node) noexcept override;
  void not_replayable(const engine::Block& block) noexcept override;
  void released(const engine::Block& block) noexcept override;

  // Why it records no longer.
  enum class Ended : std::uint8_t { No, TooLong, NoMemory };
  [[nodiscard]] Ended ended() const { return ended_; }
  // Ends the recording. REQUIRES: ended() is No.
  Recording finish();

 private:
  struct Storage {
    graph::StorageId id;
    std::int64_t bytes;
    std::int64_t maker;  // an operator; -1: no operator of the trace made it
  };
  Storage* storage_of(const engine::Block& block);
  void refer(std::vector<graph::StorageId>& ids, const engine::Block& block);
  graph::StorageId number(const engine::Block& block);
  void meet(const engine::Block& block);
  [[nodiscard]] graph::Phase phase_of(const engine::OperatorRun& run) const;
  void add_uses(graph::Operator& op, const engine::OperatorRun& run);
  void add_makes(graph::Operator& op, const engine::OperatorRun& run);
  void meet_all(const engine::OperatorRun& run);
  void write_once(graph::Operator& op, const engine::Block& block);
  void write_whole(const engine::OperatorRun& run);
  void name_what_is_trained();
  template <class Note>
  void unless_ended(Note note) noexcept;
  void stop(Ended why) noexcept;
  void add(const engine::OperatorRun& run);
  void release(const engine::Block& block);
  void take_decision(const engine::Block& block, const Storage& storage);
  [[nodiscard]] std::int64_t position() const {
    return static_cast<std::int64_t>(recording_.operators.size());
  }

  Recording recording_;
  std::size_t most_;
  Ended ended_ = Ended::No;
  std::unordered_map<const void*, graph::StorageKind> kinds_;
  std::unordered_map<const engine::Block*, Storage> storages_;
  // Empty storages that nothing has used yet, with their makers.
  std::unordered_map<graph::StorageId, std::int64_t> empty_;
  std::vector<std::int64_t> allocations_;  // the allocator's count before each operator
  std::vector<std::uint64_t> sequences_;   // the engine's sequence number of each operator
  std::int64_t allocations_before_;
  std::int64_t known_ = 0;                 // live bytes of storages_
  std::vector<const engine::Block*> met_;  // storages that the current operator uses first
  // Bytes of a storage that was met late. They are subtracted from recording_.untouched, in its
  // entries [first, last).
  struct Correction {
    std::int64_t first, last, bytes;
  };
  std::vector<Correction> corrections_;
  bool backward_seen_ = false;
};

}  // namespace neap::autoplan
