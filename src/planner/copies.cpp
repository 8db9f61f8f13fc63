// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/copies.h"

#include <algorithm>
#include <variant>

namespace neap::planner {
namespace {

using graph::Index;
using graph::StorageKind;

constexpr std::int64_t kSmallest = 4096;  // bytes: as BlockCopies::kSmallestCopy

bool stays(StorageKind kind) {
  return kind != StorageKind::Parameter && kind != StorageKind::Gradient &&
         kind != StorageKind::Optimizer;
}

Index first_use(const graph::Program& program, Index storage) {
  const auto first = [](const auto& operators) {
    return operators.empty() ? graph::kNever : *operators.begin();
  };
  return std::min(first(program.users(storage)), first(program.writers(storage)));
}

}  // namespace

std::vector<Index> first_loads(const graph::Program& program, const graph::Trace& asked) {
  std::vector<Index> from(static_cast<std::size_t>(program.storages()), 0);
  for (Index storage = 0; storage < program.storages(); ++storage) {
    if (program.storage(storage).bytes < kSmallest) {
      from[static_cast<std::size_t>(storage)] = graph::kNever;
    }
  }
  for (const graph::Event& event : asked.events) {
    const auto* const given = std::get_if<graph::Given>(&event);
    if (given == nullptr) continue;
    const Index storage = program.index_of(given->storage);
    Index& its = from[static_cast<std::size_t>(storage)];
    if (stays(given->kind)) {
      its = graph::kNever;
    } else if (const Index used = first_use(program, storage); used != graph::kNever) {
      its = std::max(its, used + 1);
    } else {
      its = graph::kNever;
    }
  }
  return from;
}

}  // namespace neap::planner
