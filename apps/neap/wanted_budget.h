// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The budget for a plan, as people write it. No LibTorch here.
#pragma once

#include <neap/graph.h>

#include <string>
#include <variant>

namespace neap::app {

// A number of bytes, or a share of what the plain step needs beyond what is there before it.
using WantedBudget = std::variant<Bytes, double>;

// Parses `1.5GiB` or `30%`. Throws: UsageError.
WantedBudget parse_wanted_budget(const std::string& text);
Bytes bytes_of(const WantedBudget& wanted, const graph::Trace& trace);

}  // namespace neap::app
