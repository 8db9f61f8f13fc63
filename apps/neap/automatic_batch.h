// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// neap train --batch-size auto.
#pragma once

#include "command_line.h"

#include <neap/train.h>

#include <cstdint>
#include <functional>
#include <string>

namespace neap::app {

// The largest batch that trains in the budget. A training that goes on has the batch that it had.
// `wanted`: of --budget; `tell`: gets lines for people. Throws: UsageError for a budget that hangs
// on the batch; Error when none trains.
std::int64_t automatic_batch(const TrainingOptions& options, const train::Budget& wanted,
                             const std::function<void(const std::string&)>& tell);

}  // namespace neap::app
