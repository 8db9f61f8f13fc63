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

// An operator of the program that has run. Views and replays are not told.
struct OperatorRun {
  const intercept::OperatorTraits& traits;
  std::string_view layer;
  std::span<Block* const> reads;
  std::span<Block* const> writes;
  std::span<Block* const> makes;
  std::int64_t ns;
  std::int64_t workspace;  // bytes
  bool backward;           // in a backward that keeps no graph of itself
  bool grad_mode;
};

class Observer {
 public:
  virtual ~Observer() = default;
  // A storage that was there before; told before the operator that reads it.
  virtual void met(const Block& block, c10::StorageImpl& storage) = 0;
  virtual void ran(const OperatorRun& run) = 0;
  // The program let go of the storage.
  virtual void released(const Block& block) = 0;
};

}  // namespace neap::engine
