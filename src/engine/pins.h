// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// engine/pins.h: neap::pin and neap::unpin.
#pragma once

#include "engine/recipes.h"
#include "engine/restorer.h"
#include "engine/session.h"
#include "engine/store.h"
#include "engine/tracker.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace neap::engine {

// Used in any thread. In another one than the engine's, nothing is pinned.
class Pins {
 public:
  Pins(Session& session, Recipes& recipes, Store& store, Tracker& tracker, Restorer& restorer);

  // Returns a ticket for unpin(), which is good until all blocks are forgotten; 0: nothing was
  // pinned.
  std::uint64_t pin(const at::Tensor& tensor);
  void unpin(const at::Tensor& tensor);
  void unpin(c10::StorageImpl& storage, std::uint64_t ticket);
  // All blocks are forgotten, and so are their pins.
  void forget_all() noexcept { ++tickets_; }

 private:
  Session& session_;
  Recipes& recipes_;
  Store& store_;
  Tracker& tracker_;
  Restorer& restorer_;
  std::uint64_t tickets_ = 1;
};

}  // namespace neap::engine
