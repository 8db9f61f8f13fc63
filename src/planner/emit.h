// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/emit.h: converts a schedule to the steps of a plan.
#pragma once

#include "planner/schedule.h"

namespace neap::planner {

// Each storage is freed right after the last use of each of its lives. Peak and time are the
// schedule's.
graph::Plan emit(Schedule& schedule, std::int64_t budget);

}  // namespace neap::planner
