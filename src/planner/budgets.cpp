// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "graph/program.h"

#include <neap/planner.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace neap::planner {

Bytes allocator_room(Bytes budget) {
  constexpr std::int64_t kSlabs = std::int64_t{64} << 10;  // some pages of each size class
  return Bytes(budget.count() / 256 + std::min(kSlabs, budget.count() / 64));
}

Bytes budget_of_share(const graph::Trace& trace, double share) {
  if (!(share >= 0 && share <= 1)) {
    throw InvalidArgument("planner: a share of " + std::to_string(share) +
                          "; it must lie between 0 and 1");
  }
  const graph::Program program(trace);
  const std::int64_t head = program.head_bytes();
  const std::int64_t above = graph::plain_plan(trace).predicted_peak - head;
  return Bytes(head + static_cast<std::int64_t>(std::floor(share * static_cast<double>(above))));
}

Infeasible::Infeasible(const std::string& text, Bytes asked, Bytes smallest, Bytes floor_bytes,
                       std::int64_t op)
    : Error(text),
      budget(asked),
      smallest_known(smallest),
      floor(floor_bytes),
      floor_operator(op) {}
Infeasible::~Infeasible() = default;

std::vector<Rerun> reruns_of(const graph::Plan& plan) {
  std::vector<Rerun> reruns;
  std::int64_t ran = 0;
  for (const graph::Step& step : plan.steps) {
    if (step.action == graph::Step::Action::Run) ++ran;
    if (step.action == graph::Step::Action::Rerun) reruns.push_back({step.target, ran});
  }
  return reruns;
}

}  // namespace neap::planner
