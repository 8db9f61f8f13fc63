// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/room.h: finds bytes when the budget is full, or refuses the allocation.
#pragma once

#include "engine/block_copies.h"
#include "engine/counts.h"
#include "engine/deaths.h"
#include "engine/layer_names.h"
#include "engine/recipes.h"
#include "engine/regions.h"
#include "engine/retention.h"
#include "engine/run_log.h"
#include "engine/session.h"
#include "engine/store.h"
#include "memory/allocator.h"

#include <cstdint>

namespace neap::engine {

class Room final : private memory::Reclaimer {
 public:
  Room(Session& session, Counts& counts, Recipes& recipes, const BlockCopies& copies, Store& store,
       Deaths& deaths, Retention& retention, const Regions& regions, const LayerNames& layers,
       RunLog& run_log);

  // Evicts for other threads that have asked: see Note [Phases].
  void serve_others() {
    if (session_.gate.is_asked()) {
      session_.gate.serve([this](std::int64_t bytes) { return make(bytes); });
    }
  }
  // Frees the activations of a step that failed, which LibTorch's queue still holds. Called when a
  // scope or region begins, when a scope ends, and when an allocation would otherwise be refused.
  void drop_failed_backward() noexcept;
  void scope_ended() noexcept { beyond_plain_ = false; }

 private:
  std::int64_t make(std::int64_t bytes);
  std::int64_t reclaim(std::int64_t bytes) override;
  std::int64_t reclaim_here(std::int64_t bytes);
  [[noreturn]] void refuse(std::int64_t need, std::int64_t in_use, std::int64_t budget) override;
  bool begin_wait() noexcept override;
  void end_wait() noexcept override;

  Session& session_;
  Counts& counts_;
  const BlockCopies& copies_;
  Recipes& recipes_;
  Store& store_;
  Deaths& deaths_;
  Retention& retention_;
  const Regions& regions_;
  const LayerNames& layers_;
  RunLog& run_log_;
  // In this scope, plain LibTorch would have needed more than the budget.
  bool beyond_plain_ = false;
};

}  // namespace neap::engine
