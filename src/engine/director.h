// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/director.h: the interface that says what is restored and what is evicted around each
// operator of the program. The engine asks it and knows no plans.
//
// Note [Directors]
// A scope numbers the blocks that it meets or makes, in their order. It also hashes the program's
// operators, views left out. Equal steps give equal numbers and hashes, so a director can name a
// block before the block exists. What a director says is advice. An operand that is absent is
// restored with all that it needs. A block that cannot be evicted stays. When bytes are missing,
// the eviction policy finds them. So neither the bits nor the budget depend on a director. Without
// a director the scope is online: operands are restored when they are read, and the eviction policy
// decides what is evicted.
#pragma once

#include "engine/records.h"

#include <cstdint>
#include <optional>
#include <span>

namespace neap::engine {

// Threads: the scope's thread. Another thread that evicts calls fell_short() too, see Note
// [Phases]. Hot: each function is called about once per operator.
class Director {
 public:
  virtual ~Director() = default;

  // The program is about to run an operator. `so_far`: a hash of all operators of the scope up to
  // this one. `op`: for messages. Returns false when the director did not foresee the operator;
  // then it is not asked again in this scope.
  virtual bool foresees(std::uint64_t so_far, const intercept::OperatorTraits* op) = 0;

  // Numbers of blocks, around the operator that foresees() was last asked about.
  struct Before {
    std::span<const std::uint32_t> restores;  // before it runs, beside its operands; they stay
    std::span<const std::uint32_t> evicts;    // before it runs, when all that it needs is there
    std::span<const std::uint32_t> loads;     // then these begin to come back from their copies
  };
  struct After {
    std::span<const std::uint32_t> copies;  // first these begin to be copied to the tier
    std::span<const std::uint32_t> evicts;
    std::span<const std::uint32_t> loads;  // then these begin to come back
  };
  // Returns nullopt when the director has nothing more to say. It is not asked again in this scope.
  virtual std::optional<Before> before_operator() = 0;
  virtual After after_operator() = 0;

  // True for a block whose content is still needed although the program has let go of it.
  [[nodiscard]] virtual bool keeps(const Block& block) const noexcept = 0;
  // True for a block whose content is not needed from here on, until it is restored.
  [[nodiscard]] virtual bool frees(const Block& block) const noexcept = 0;

  // `bytes` more were needed than the director counted with. The eviction policy freed `freed`
  // bytes for them.
  virtual void fell_short(std::int64_t bytes, std::int64_t freed) noexcept = 0;
  // The director is not asked again in this scope. The reasons: what it asked for does not fit, an
  // operator threw, or the scope ends.
  virtual void stop() noexcept = 0;
};

}  // namespace neap::engine
