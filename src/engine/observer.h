// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/observer.h: who is told what happens to storages, while a scope follows them. The engine tells; it knows no traces.
// Threads: the scope's thread.
#pragma once

#include "engine/records.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace neap::engine {

// An operator of the program that has run. Views are not told.
struct OperatorRun {
  const intercept::OperatorTraits& traits;
  std::string_view layer;
  std::span<Block* const> reads;
  std::span<Block* const> writes;       // none of them is in `reads`
  std::span<Block* const> once_writes;  // a replay leaves them alone
  std::span<Block* const> makes;
  std::int64_t ns;
  std::uint64_t signature;   // of the operator and its sizes: see Engine::cost_ns()
  std::uint64_t sequence;    // Node::sequence, when it may run again
  std::int64_t allocations;  // that the allocator had served before it ran
  std::int64_t live;         // bytes, before it ran
  std::int64_t peak;         // the most of them while it ran
  bool replayable;           // with a budget, what it makes or writes could be made again by it
  bool whole;                // writes its one block whole, whatever was in there
  bool backward;             // in a backward that keeps no graph of itself
  bool grad_mode;
};

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void ran(const OperatorRun& run) = 0;
  // An operator has run again, before the next one of the program.
  virtual void replayed(const Node& node) = 0;
  // It was told as replayable, and is not: the program has written it by hand, see Note [Blanks], or something that is no dense
  // tensor holds it, unseen.
  virtual void not_replayable(const Block& block) = 0;
  // The program let go of the storage.
  virtual void released(const Block& block) = 0;
};

}  // namespace neap::engine
