// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/selection.h: who decides what a region keeps when it closes. The engine asks; it knows no rules.
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
  c10::IntArrayRef sizes;  // of the first tensor on it
  std::int64_t bytes;      // as the allocator counts them
  std::int64_t cost_ns;    // of the operator
};

// A storage that would go now, though nobody has said that it must.
struct Candidate {
  Block* block;
  std::string_view layer;
  std::int64_t bytes;
  double cost_ns;  // of all operators that would have to run again for it
  bool keep = false;
};

class Selector {
 public:
  virtual ~Selector() = default;
  // Asked after each operator, the innermost region's first. Open: the region around decides; in the end it goes.
  virtual Decision decide(const Made& made) = 0;
  // Asked when the region closes: marks which candidates stay.
  virtual void choose(std::span<Candidate> candidates) = 0;
  // choose() has something to say.
  [[nodiscard]] virtual bool chooses() const = 0;
};

}  // namespace neap::engine
