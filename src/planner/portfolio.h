// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// planner/portfolio.h: where local search starts from. Each start is a plan by itself, by a method of the literature or ours.
#pragma once

#include "planner/schedule.h"

#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace neap::planner {

struct Method {
  std::string_view name;
  // Above so many operators it takes too long.
  Index most_operators;
  std::optional<std::vector<Rerun>> (*find)(const graph::Trace& trace, const Replays& replays,
                                            std::int64_t budget, std::uint64_t seed);
};

std::span<const Method> portfolio();

}  // namespace neap::planner
