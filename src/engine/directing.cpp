// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/directing.h"

#include "engine/locks.h"

#include <neap/memory.h>

#include <c10/util/SmallVector.h>

#include <optional>

namespace neap::engine {

Directing::Directing(Session& session, Recipes& recipes, BlockCopies& copies, Store& store,
                     Tracker& tracker, Retention& retention, Restorer& restorer)
    : session_(session),
      recipes_(recipes),
      copies_(copies),
      store_(store),
      tracker_(tracker),
      retention_(retention),
      restorer_(restorer) {}

void Directing::follow(std::span<Block* const> absent) {
  const std::optional<Director::Before> directed = session_.director->before_operator();
  session_.was_directed = true;
  if (directed && restore_with(directed->restores, absent)) {
    evict_all_of(directed->evicts);
    return begin_loads(directed->loads);
  }
  // The director has nothing more to say, or asks for more than fits now.
  session_.stop_director();
  if (!absent.empty()) restorer_.restore(absent);
}

void Directing::follow_after() {
  const Director::After directed = session_.director->after_operator();
  begin_copies(directed.copies);
  evict_all_of(directed.evicts);
  begin_loads(directed.loads);
}

// Where there is no room in the tier, what was to be copied stays, or goes by a replay.
void Directing::begin_copies(std::span<const std::uint32_t> numbers) {
  for (const std::uint32_t number : numbers) {
    Block* const block = tracker_.numbered(number);
    const bool possible = block != nullptr && block->has_data() && copies_.can_copy(*block);
    if (possible && !copies_.begin(*block)) return;
  }
}

// What does not fit yet is loaded when an operator needs it.
void Directing::begin_loads(std::span<const std::uint32_t> numbers) {
  Locks locks(recipes_);  // the program may let go of a block while room is made for it
  for (const std::uint32_t number : numbers) {
    Block* const block = tracker_.numbered(number);
    if (block == nullptr || block->has_data() || block->copy == nullptr || block->arriving) {
      continue;
    }
    locks.add(*block);
    try {
      store_.begin_load(*block);
    } catch (const BudgetExceeded&) {
      return;
    }
  }
}

// False: all of them do not fit, but the operands alone may.
bool Directing::restore_with(std::span<const std::uint32_t> numbers,
                             std::span<Block* const> absent) {
  if (numbers.empty() && absent.empty()) return true;
  c10::SmallVector<Block*, 16> targets(absent.begin(), absent.end());
  Locks locks(recipes_);
  for (const std::uint32_t number : numbers) {
    Block* const block = tracker_.numbered(number);
    if (block == nullptr || block->has_data() || !block->can_come_back()) continue;
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
