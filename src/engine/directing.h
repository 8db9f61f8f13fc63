// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/directing.h: does what a director says, as far as possible. See Note [Directors].
#pragma once

#include "engine/recipes.h"
#include "engine/restorer.h"
#include "engine/retention.h"
#include "engine/session.h"
#include "engine/tracker.h"

#include <cstdint>
#include <span>

namespace neap::engine {

// Hot: called once per operator under a plan. bench/models.cpp measures it.
class Directing {
 public:
  Directing(Session& session, Recipes& recipes, BlockCopies& copies, Store& store, Tracker& tracker,
            Retention& retention, Restorer& restorer);

  // Before an operator. `absent`: its operands without data, which the caller has locked. They are
  // restored. Throws: as Restorer::restore().
  void before_operator(std::span<Block* const> absent) {
    if (session_.director) return follow(absent);
    if (!absent.empty()) restorer_.restore(absent);
  }
  void after_operator() {
    if (session_.director) follow_after();
  }

 private:
  void follow(std::span<Block* const> absent);
  void follow_after();
  bool restore_with(std::span<const std::uint32_t> numbers, std::span<Block* const> absent);
  void evict_all_of(std::span<const std::uint32_t> numbers);
  void begin_copies(std::span<const std::uint32_t> numbers);
  void begin_loads(std::span<const std::uint32_t> numbers);

  Session& session_;
  Recipes& recipes_;
  BlockCopies& copies_;
  Store& store_;
  Tracker& tracker_;
  Retention& retention_;
  Restorer& restorer_;
};

}  // namespace neap::engine
