// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "engine/engine.h"

#include <optional>

namespace neap::engine {

// While it lives, the engine is at work, if this thread owns it. For callers that use several parts
// of the engine, such as a director that is replaced. REQUIRES: the thread stays the owner.
class AtWork {
 public:
  explicit AtWork(Engine& engine) {
    if (engine.owner_here()) busy_.emplace(engine.session_);
  }

 private:
  std::optional<Busy> busy_;
};

}  // namespace neap::engine
