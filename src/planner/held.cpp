// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/held.h"

#include <utility>
#include <variant>
#include <vector>

namespace neap::planner {

graph::Trace with_what_is_held(const graph::Trace& trace) {
  graph::Trace held;
  held.keep = trace.keep;
  held.events.reserve(trace.events.size());
  for (const graph::Event& event : trace.events) {
    held.events.push_back(event);
    auto* const op = std::get_if<graph::Operator>(&held.events.back());
    if (op == nullptr || op->replayable) continue;
    const std::vector<graph::Made> makes = std::exchange(op->makes, {});
    for (const graph::Made& made : makes) op->workspace += made.bytes;
    for (const graph::Made& made : makes) {
      held.events.emplace_back(
          graph::Given{made.storage, made.bytes, graph::StorageKind::Constant});
    }
  }
  return held;
}

}  // namespace neap::planner
