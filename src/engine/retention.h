// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/retention.h: contents that cannot be made again, and what was made from them.
//
// Note [What is held]
// The program may let go of a storage that cannot be made again, such as a batch or the result of
// an operator that must not run twice. The engine then holds the storage as long as something could
// be made from it. Plain LibTorch would have freed it. So held storages must never be the reason
// why a budget is too small, and recipes must not grow for ever. Two rules ensure this:
//
//   * A storage that the program lets go of is held only where more bytes could be evicted for it
//     than it takes. Otherwise what was made from it is pinned, and its recipes end. So a value
//     that is made from the one before it, for ever, does not get a growing chain of recipes
//     (tests/regression/recorder_test.cpp).
//   * While plain LibTorch would still fit, held storages are freed first, and something is evicted
//     only when none can be freed. The one for which the fewest bytes are pinned is freed first.
//     Until plain LibTorch has needed more than the budget in this scope, all that the program
//     holds is in memory, and held storages only come on top. So a step that fits plain LibTorch
//     always fits (tests/checkpoint/held_test.cpp).
//
// After that, evicting saves memory, and holding makes evicting possible.
#pragma once

#include "engine/recipes.h"
#include "engine/restorer.h"
#include "engine/session.h"
#include "engine/store.h"

#include <cstdint>
#include <vector>

namespace neap::engine {

class Retention {
 public:
  Retention(Session& session, Recipes& recipes, Store& store, Restorer& restorer);

  // An operator is about to write into the block. Whatever needs the content that is lost is
  // restored and pinned.
  void before_write(Block& block);
  // The program is about to get the block's address, and may write into it at any time.
  void before_exposure(Block& block);
  [[nodiscard]] bool is_worth_holding(Block& block);
  // Pins what was made from the block instead, so that nobody needs the block. Returns false when
  // something that was made from it is evicted. The caller releases the block.
  bool release_from_readers(Block& block);
  // Frees the held block for which the fewest bytes are pinned. Returns the bytes freed; 0: none
  // can be freed.
  std::int64_t release_held();
  // A director says that the content is not needed. A content that can be made again is evicted.
  // Another content is freed only after the program has let go of it, and only when nothing evicted
  // would have to be made from it. The caller releases the block.
  void release_content(Block& block);

 private:
  struct Dependents {
    std::vector<Node*> lost;       // recipes that end when the content is lost
    std::vector<Block*> affected;  // blocks that these recipes make
  };
  // What it costs and gives to free a block that is only held for recipes.
  struct Trade {
    bool possible = false;   // nothing that was made from it is evicted
    std::int64_t frees = 0;  // bytes that are held for these recipes alone
    std::int64_t pins = 0;   // bytes that could be evicted before, and not afterwards
  };
  class Marks;
  static Dependents dependents_of(Block& block);
  static void search(Block& lost_block, Dependents& found);
  static Trade trade_of(Block& held);
  bool protect_readers(Block& overwritten, bool may_restore);

  Session& session_;
  Recipes& recipes_;
  Store& store_;
  Restorer& restorer_;
};

}  // namespace neap::engine
