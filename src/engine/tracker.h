// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/tracker.h: how blocks begin and die. Each storage that the engine meets or that an
// operator makes gets a block, and a number in its scope: see Note [Directors].
#pragma once

#include "engine/counts.h"
#include "engine/deaths.h"
#include "engine/layer_names.h"
#include "engine/recipes.h"
#include "engine/regions.h"
#include "engine/retention.h"
#include "engine/run_log.h"
#include "engine/session.h"
#include "engine/store.h"

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace neap::engine {

class Tracker final : private Deaths::Handler {
 public:
  Tracker(Session& session, Counts& counts, Recipes& recipes, Store& store, Deaths& deaths,
          Retention& retention, Regions& regions, const LayerNames& layers, RunLog& run_log);

  // Makes a pinned block for a storage that the engine has not met. Null: foreign memory.
  Block* track(const at::Tensor& tensor, c10::StorageImpl& storage);
  Block* create(c10::StorageImpl& storage, PinReason pinned);
  // The scope begins with a record of the storage, which an operator of an earlier one has met.
  void meet_again(c10::StorageImpl& storage, PinReason pinned);
  // An operator of the scope meets such a block for the first time.
  void meet_first(Block& block, c10::StorageImpl& storage);
  // The engine forgets the block.
  void forget(const Block& block) noexcept;
  void clear() noexcept;

  // The block of that number in the scope. Null: it is no longer known.
  [[nodiscard]] Block* numbered(std::uint32_t number) const noexcept {
    return number < numbered_.size() ? numbered_[number] : nullptr;
  }
  // The first number since the last operator with grad mode on.
  [[nodiscard]] std::size_t section() const noexcept { return section_; }
  void operator_ended(bool grad_mode) noexcept {
    if (grad_mode) section_ = numbered_.size();
  }

 private:
  void number(Block& block);
  void note_parameter(const Block& block, c10::StorageImpl& storage);
  void on_death(Block& block) noexcept override;
  void release_early(Block& block) noexcept;
  void lose_data(Block& block);

  Session& session_;
  Counts& counts_;
  Recipes& recipes_;
  Store& store_;
  UnseenMemory& unseen_;
  Retention& retention_;
  Regions& regions_;
  const LayerNames& layers_;
  RunLog& run_log_;
  std::vector<Block*> numbered_;  // by scope number
  std::size_t section_ = 0;
};

}  // namespace neap::engine
