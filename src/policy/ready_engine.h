// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// policy/ready_engine.h: the engine, with the eviction policy that scopes use.
#pragma once

#include "engine/engine.h"

namespace neap::policy {

// Threads: any.
engine::Engine& ready_engine();

}  // namespace neap::policy
