// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/directing.h"

#include "engine/locks.h"

#include <neap/memory.h>

#include <c10/util/SmallVector.h>

#include <optional>

namespace neap::engine {

Directing::Directing(Session& session, Recipes& recipes, Tracker& tracker, Retention& retention,
                     Restorer& restorer)
    : session_(session),
      recipes_(recipes),
      tracker_(tracker),
      retention_(retention),
      restorer_(restorer) {}

void Directing::follow(std::span<Block* const> absent) {
  const std::optional<Director::Before> directed = session_.director->before_operator();
  session_.was_directed = true;
  if (directed && restore_with(directed->restores, absent)) {
    return evict_all_of(directed->evicts);
  }
  // The director has nothing more to say, or asks for more than fits now.
  session_.stop_director();
  if (!absent.empty()) restorer_.restore(absent);
}

// False: all of them do not fit, but the operands alone may.
bool Directing::restore_with(std::span<const std::uint32_t> numbers,
                             std::span<Block* const> absent) {
  if (numbers.empty() && absent.empty()) return true;
  c10::SmallVector<Block*, 16> targets(absent.begin(), absent.end());
  Locks locks(recipes_);
  for (const std::uint32_t number : numbers) {
    Block* const block = tracker_.numbered(number);
    if (block == nullptr || block->has_data() || !block->replayable()) continue;
    locks.add(*block);
    targets.push_back(block);
  }
  if (targets.empty()) return true;
  const bool operands_alone = targets.size() == absent.size();
  try {
    restorer_.restore(targets, /*again=*/operands_alone);
  } catch (const BudgetExceeded&) {
    if (!operands_alone) return false;
    session_.stop_director();
    throw;
  }
  return true;
}

void Directing::evict_all_of(std::span<const std::uint32_t> numbers) {
  for (const std::uint32_t number : numbers) {
    Block* const block = tracker_.numbered(number);
    if (block == nullptr) continue;
    retention_.release_content(*block);
    recipes_.release_if_unused(*block);
  }
}

}  // namespace neap::engine
