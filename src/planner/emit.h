// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/emit.h: a schedule as the lines of a plan.
#pragma once

#include "planner/schedule.h"

namespace neap::planner {

// Each storage goes right after the last use of each of its lives. The peak and the time are the schedule's.
graph::Plan emit(Schedule& schedule, std::int64_t budget);

}  // namespace neap::planner
