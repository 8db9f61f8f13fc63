// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "checkpoint/ready_engine.h"

#include "policy/dtr_eq.h"

#include <mutex>

namespace neap::checkpointing {

engine::Engine& ready_engine() {
  engine::Engine& engine = engine::Engine::instance();
  static std::once_flag once;
  std::call_once(once, [&] { engine.set_policy(std::make_unique<policy::DtrEq>()); });
  return engine;
}

}  // namespace neap::checkpointing
