// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/selection.h: the interface that chooses what a region keeps when it closes. The engine
// asks it and knows no rules.
#pragma once

#include "engine/records.h"

#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace neap::engine {

// A storage that an operator inside the region has just made.
struct Made {
  const intercept::OperatorTraits& traits;
  std::string_view layer;  // empty: not known
  c10::IntArrayRef sizes;  // of the first tensor on the storage
  std::int64_t bytes;      // as the allocator counts them
  std::int64_t cost_ns;    // of the operator that made it
};

// A storage that would be evicted now, although no rule says so.
struct Candidate {
  Block* block;
  std::string_view layer;
  std::int64_t bytes;
  double cost_ns;  // of all operators that would have to be replayed to make it again
  bool keep = false;
};

class Selector {
 public:
  virtual ~Selector() = default;
  // Called for each storage that an operator makes, first for the innermost region. Nullopt: the
  // region around it decides. If none does, the storage is evicted when its region closes.
  virtual std::optional<CheckpointPolicy> decide(const Made& made) = 0;
  // Called when the region closes. Sets `keep` for the candidates that stay.
  virtual void choose(std::span<Candidate> candidates) = 0;
  // Returns false when choose() would never keep anything.
  [[nodiscard]] virtual bool chooses() const = 0;
};

}  // namespace neap::engine
