// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "policy/ready_engine.h"

#include "policy/dtr_eq.h"

#include <mutex>

namespace neap::policy {

engine::Engine& ready_engine() {
  engine::Engine& engine = engine::Engine::instance();
  static std::once_flag once;
  std::call_once(once, [&] { engine.set_eviction_policy(std::make_unique<DtrEq>()); });
  return engine;
}

}  // namespace neap::policy
