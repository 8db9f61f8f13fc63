// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/exposures.h: storages whose address the program has: neap::expose and neap::watch.
//
// Note [Exposed storages]
// Who has the address of a storage may read and write its bytes by hand, and no operator tells the
// engine. In Python, numpy(), DLPack and data_ptr() give the address away. Then:
//
//   * The storage is brought back, and stays in memory until its scope ends.
//   * What was made from it is brought back too and pinned. Such a content could not be made again
//     once the bytes have changed.
//   * An operator that reads it later is no recipe, so what it makes is pinned.
//
// Whole models are made from their parameters, and programs take the addresses of parameters only
// to compare or to save them. If all that was made from them were pinned, no budget could hold. So
// what was there before the scope can be watched instead. It stays part of recipes, and its bytes
// are hashed when an operator reads it. They are compared when the next operator reads it, and when
// a replay does. If they have changed, the program has written by hand. What was made from the old
// bytes is pinned then, where it is in memory. Where it is not, HandWritten is thrown.
#pragma once

#include "engine/deaths.h"
#include "engine/recipes.h"
#include "engine/restorer.h"
#include "engine/retention.h"
#include "engine/session.h"
#include "engine/store.h"
#include "engine/tracker.h"

#include <ATen/core/Tensor.h>

namespace neap::engine {

struct Call;

// Used in any thread. In another one than the scope's nothing can be kept in memory, so the address
// of what may be evicted is refused there.
class Exposures {
 public:
  Exposures(Session& session, Recipes& recipes, Store& store, Deaths& deaths, Tracker& tracker,
            Retention& retention, Restorer& restorer);

  // Throws: BudgetExceeded when what must be brought back does not fit. Nothing is exposed then.
  // ScopeConflict in another thread, for what may be evicted.
  void expose(const at::Tensor& tensor);
  // As expose(), but what was there before the scope is watched.
  void watch(const at::Tensor& tensor);

  // An operator is about to run. Throws: HandWritten.
  void before_operator(const Call& call) {
    if (any_watched_) compare_operands(call);
  }
  void forget_all() noexcept { any_watched_ = false; }

 private:
  void refuse_elsewhere(const at::Tensor& tensor);
  Block* block_of(const at::Tensor& tensor);
  void bring_back(Block& block);
  void expose(Block& block);
  void compare_operands(const Call& call);
  void compare(Block& block);

  Session& session_;
  Recipes& recipes_;
  Store& store_;
  Deaths& deaths_;
  Tracker& tracker_;
  Retention& retention_;
  Restorer& restorer_;
  bool any_watched_ = false;
};

}  // namespace neap::engine
