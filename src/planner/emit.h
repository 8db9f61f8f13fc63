// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/emit.h: converts a schedule to the steps of a plan.
#pragma once

#include "planner/schedule.h"
#include "planner/transfers.h"

namespace neap::planner {

// Each storage is freed right after the last use of each of its lives. Without loads, peak and time
// are the schedule's. With loads, copies stand where Transfers places them; the peak is still
// inside the budget when the schedule's is.
// `limit`: of the bytes in the tier.
graph::Plan emit(Schedule& schedule, std::int64_t budget, std::int64_t limit = Transfers::kNoLimit);

}  // namespace neap::planner
