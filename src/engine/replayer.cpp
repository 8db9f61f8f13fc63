// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/replayer.h"

#include "engine/ancestors.h"
#include "engine/explain.h"
#include "engine/locks.h"

#include <neap/memory.h>

#include <utility>

namespace neap::engine {

Replayer::Replayer(Session& session, Counts& counts, Recipes& recipes, Store& store,
                   const device::ExecutionStates& states)
    : session_(session), counts_(counts), recipes_(recipes), store_(store), states_(states) {}

double Replayer::price_ns(Block& block) const {
  auto cost = static_cast<double>(block.cost_ns);
  for_each_gone_ancestor(block, [&](const Block& gone) { cost += gone.cost_ns; });
  return cost;
}

void Replayer::restore(std::span<Block* const> targets, bool again) {
  const Timed own(counts_, &Stats::bookkeeping_ns);
  const bool outer = std::exchange(session_.restoring, true);
  std::unique_ptr<Materialization> one = std::exchange(spare_, nullptr);
  if (!one) {
    one = std::make_unique<Materialization>(session_, counts_, recipes_, store_, states_);
  }
  try {
    try {
      run(*one, targets);
    } catch (const BudgetExceeded&) {
      // Some storages were in memory and locked for operators that run late. If they are evicted,
      // and made again when their turn comes, everything may fit.
      if (outer || !again || store_.evict_all() == 0) throw;
      run(*one, targets);
    }
  } catch (...) {
    session_.restoring = outer;
    throw;
  }
  session_.restoring = outer;
  spare_ = std::move(one);
}

// Each further run has a copy less to count on, or one more content at hand.
void Replayer::run(Materialization& one, std::span<Block* const> targets) {
  Locks loaded(recipes_);
  while (true) {
    try {
      return one.run(targets);
    } catch (const CopyLost& lost) {
      if (!lost.block->replayable())
        throw OffloadError(describe(*lost.block), store_.why_copy_lost());
    } catch (const CopyNeededFirst& needed) {
      loaded.add(*needed.block);
      load(*needed.block);
    }
  }
}

void Replayer::load(Block& block) {
  if (block.arriving == nullptr) store_.begin_load(block);
  if (!store_.finish_load(block)) {
    if (!block.replayable()) throw OffloadError(describe(block), store_.why_copy_lost());
    return;
  }
  if (block.alive && store_.put_into_storage(block)) return;
  store_.move(block, Residence::Retained);
  store_.update_lists(block);
}

}  // namespace neap::engine
