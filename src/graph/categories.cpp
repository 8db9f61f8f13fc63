// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "graph/categories.h"

#include <algorithm>

namespace neap::graph {
namespace {

Category of_kind(StorageKind kind) {
  switch (kind) {
    case StorageKind::Parameter:
    case StorageKind::Buffer:
      return Category::Parameters;
    case StorageKind::Gradient:
      return Category::Gradients;
    case StorageKind::Optimizer:
      return Category::Optimizer;
    case StorageKind::Input:
    case StorageKind::Constant:
      break;
  }
  return Category::Inputs;
}

}  // namespace

const char* name_of(Category category) {
  constexpr std::array<const char*, kCategories> kNames = {
      "parameters", "gradients", "optimizer", "inputs", "activations", "temporaries", "workspace"};
  return kNames.at(static_cast<std::size_t>(category));
}

const char* name_of(Phase phase) {
  constexpr std::array<const char*, 4> kNames = {"forward", "backward", "optimizer", "other"};
  return kNames.at(static_cast<std::size_t>(phase));
}

std::vector<const Operator*> operators_of(const Trace& trace) {
  std::vector<const Operator*> operators;
  for (const Event& event : trace.events) {
    if (const auto* const op = std::get_if<Operator>(&event)) operators.push_back(op);
  }
  return operators;
}

std::vector<Category> categories_of(const Trace& trace, const Program& program) {
  const std::vector<const Operator*> operators = operators_of(trace);
  const auto phase_of = [&](Index op) { return operators[static_cast<std::size_t>(op)]->phase; };
  // For each operator, the first of the backward that comes after it. A step that accumulates has
  // several forwards, and a backward after each.
  std::vector<Index> next_backward(static_cast<std::size_t>(program.operators()), kNever);
  for (Index op = program.operators() - 1, next = kNever; op >= 0; --op) {
    next_backward[static_cast<std::size_t>(op)] = next;
    if (phase_of(op) == Phase::Backward) next = op;
  }
  const auto of_made = [&](Index storage) {
    const Program::Storage& made = program.storage(storage);
    const Phase phase = phase_of(made.maker);
    const Index backward = next_backward[static_cast<std::size_t>(made.maker)];
    const bool lives_into_backward = backward != kNever && made.released >= backward;
    if (phase == Phase::Forward && lives_into_backward) return Category::Activations;
    const bool optimizer_uses_it = std::ranges::any_of(
        program.users(storage), [&](Index op) { return phase_of(op) == Phase::Optimizer; });
    if (phase == Phase::Backward && optimizer_uses_it) return Category::Gradients;
    if (phase == Phase::Optimizer && made.keep) return Category::Optimizer;
    return Category::Temporaries;
  };
  std::vector<Category> categories(static_cast<std::size_t>(program.storages()));
  for (const Event& event : trace.events) {
    if (const auto* const given = std::get_if<Given>(&event)) {
      categories[static_cast<std::size_t>(program.index_of(given->storage))] = of_kind(given->kind);
    }
  }
  for (Index storage = 0; storage < program.storages(); ++storage) {
    if (!program.storage(storage).given) {
      categories[static_cast<std::size_t>(storage)] = of_made(storage);
    }
  }
  return categories;
}

std::string text_of(const Operator& op) {
  switch (op.phase) {
    case Phase::Forward:
      return op.name + " in the forward";
    case Phase::Backward:
      return op.name + " in the backward";
    case Phase::Optimizer:
      return op.name + " of the optimizer";
    case Phase::Other:
      break;
  }
  return op.name;
}

std::map<StorageId, Category> categories_of(const Trace& trace) {
  const Program program(trace);
  const std::vector<Category> all = categories_of(trace, program);
  std::map<StorageId, Category> by_id;
  for (Index storage = 0; storage < program.storages(); ++storage) {
    by_id.emplace(program.storage(storage).id, all[static_cast<std::size_t>(storage)]);
  }
  return by_id;
}

}  // namespace neap::graph
