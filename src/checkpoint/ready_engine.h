// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "engine/engine.h"

namespace neap::checkpointing {

// The engine, with the policy that scopes use.
engine::Engine& ready_engine();

}  // namespace neap::checkpointing
