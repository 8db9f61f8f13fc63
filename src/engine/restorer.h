// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/restorer.h: how evicted data comes back. The parts of the engine know this interface only:
// whether operators are replayed or copies loaded is the business of engine/replayer.h.
#pragma once

#include "engine/records.h"

#include <span>

namespace neap::engine {

class Restorer {
 public:
  virtual ~Restorer() = default;

  // The time to bring the block back as things are now, ns: of all operators between it and what
  // has data. Cost: linear in their number.
  [[nodiscard]] virtual double price_ns(Block& block) const = 0;

  // Brings the targets back, with all that they are made from. `again`: when they do not fit,
  // everything that can be evicted is evicted, and it is tried once more. What was evicted stays
  // evicted, also when the second try throws. REQUIRES: the caller has locked the targets.
  // Throws: BudgetExceeded, OffloadError, and what operators throw. Then everything is as before,
  // except what has been restored already.
  virtual void restore(std::span<Block* const> targets, bool again = true) = 0;
};

}  // namespace neap::engine
