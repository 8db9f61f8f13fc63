// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/replayer.h: brings data back, by replaying the operators that made it and by loading
// copies.
#pragma once

#include "device/execution_state.h"
#include "engine/counts.h"
#include "engine/materialization.h"
#include "engine/restorer.h"
#include "engine/session.h"
#include "engine/store.h"

#include <memory>
#include <span>

namespace neap::engine {

class Replayer final : public Restorer {
 public:
  Replayer(Session& session, Counts& counts, Recipes& recipes, Store& store,
           const device::ExecutionStates& states);

  [[nodiscard]] double price_ns(Block& block) const override;
  void restore(std::span<Block* const> targets, bool again = true) override;

 private:
  void run(Materialization& one, std::span<Block* const> targets);
  void load(Block& block);

  Session& session_;
  Counts& counts_;
  Recipes& recipes_;
  Store& store_;
  const device::ExecutionStates& states_;
  std::unique_ptr<Materialization> spare_;  // for the next run, so its lists are not made anew
};

}  // namespace neap::engine
