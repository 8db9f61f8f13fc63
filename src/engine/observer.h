// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/observer.h: the interface that is told what happens to storages while a scope tracks them.
// The engine tells it and knows no traces. Threads: the scope's thread.
#pragma once

#include "engine/records.h"

#include <cstdint>
#include <span>
#include <string_view>

namespace neap::engine {

// An operator of the program that has run. Views are not reported.
struct OperatorRun {
  const intercept::OperatorTraits& traits;
  std::string_view layer;
  std::span<Block* const> reads;
  std::span<Block* const> writes;       // none of them is in `reads`
  std::span<Block* const> once_writes;  // a replay does not write them
  std::span<Block* const> makes;
  std::int64_t ns;
  std::uint64_t signature;          // a hash of the operator and its sizes: see Engine::cost_ns()
  std::uint64_t operator_sequence;  // Node::operator_sequence, if it may be replayed
  std::int64_t allocations;         // served by the allocator before it ran
  std::int64_t live;                // bytes before it ran
  std::int64_t peak;                // the largest number of live bytes while it ran
  bool replayable;  // with a budget, it can be replayed to make its results or writes again
  bool whole;       // overwrites its only written block whole
  bool backward;    // inside a backward without create_graph
  bool grad_mode;
};

// It is told by deleters, too, so nothing that it does throws.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void ran(const OperatorRun& run) noexcept = 0;
  // An operator has been replayed, before the next operator of the program.
  virtual void replayed(const Node& node) noexcept = 0;
  // The block was reported as replayable, and is not. Either the program has written it by hand,
  // see Note [Blanks], or a tensor that is not dense holds its storage where nobody sees it.
  virtual void not_replayable(const Block& block) noexcept = 0;
  // The program has let go of the storage.
  virtual void released(const Block& block) noexcept = 0;
};

}  // namespace neap::engine
