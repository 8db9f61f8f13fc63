// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/planned_step.h: a plan in the engine's terms.
#pragma once

#include <cstdint>
#include <vector>

namespace neap::autoplan {

// Blocks and operators have the numbers and hashes of Note [Directors]. Immutable once it is
// shared.
struct PlannedStep {
  // What belongs to one operator: ranges of `blocks`, one after the other. The last ends where the
  // next operator's first begins.
  struct At {
    std::uint32_t brings;  // restored before it runs, and stay
    std::uint32_t leaves;  // evicted before it runs; a replay that comes before may still read them
    std::uint32_t loads;   // begin to come back from the tier then
    std::uint32_t copies;  // begin to be copied to the tier when it has run
    std::uint32_t evicts;  // evicted then
    std::uint32_t loads_after;  // begin to come back then
    std::uint32_t ends;         // the program is about to let go of them, and then they are freed

    bool operator==(const At&) const = default;
  };

  std::vector<std::uint64_t> calls;  // a hash of all operators up to each
  std::vector<At> operators;         // one more, for what comes after the last
  std::vector<std::uint32_t> blocks;
  std::uint32_t numbers = 0;  // one more than the highest block
  std::int64_t predicted_peak = 0;
  std::int64_t predicted_ns = 0;  // of all operators and replays
};

}  // namespace neap::autoplan
