// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/checkpoint/tracing.h: how the tests of traces look at them.
#pragma once

#include <neap/graph.h>

#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace neap::test::tracing {

inline std::vector<graph::Operator> operators_of(const graph::Trace& trace) {
  std::vector<graph::Operator> all;
  for (const graph::Event& event : trace.events) {
    if (const auto* const op = std::get_if<graph::Operator>(&event)) all.push_back(*op);
  }
  return all;
}

inline graph::Given given_of(const graph::Trace& trace, graph::StorageId id) {
  for (const graph::Event& event : trace.events) {
    const auto* const given = std::get_if<graph::Given>(&event);
    if (given != nullptr && given->storage == id) return *given;
  }
  throw std::logic_error("storage " + std::to_string(id) + " is not given");
}

// "given KIND" and the names of operators, in order, without releases.
inline std::vector<std::string> events_of(const graph::Trace& trace) {
  static const std::vector<std::string> kinds = {"constant", "parameter", "buffer",
                                                 "input",    "gradient",  "optimizer"};
  std::vector<std::string> all;
  for (const graph::Event& event : trace.events) {
    if (const auto* const given = std::get_if<graph::Given>(&event)) {
      all.push_back("given " + kinds.at(static_cast<std::size_t>(given->kind)));
    } else if (const auto* const op = std::get_if<graph::Operator>(&event)) {
      all.push_back(op->name);
    }
  }
  return all;
}

// Without what is measured: times, and what the allocator keeps.
inline graph::Trace without_measures(graph::Trace trace) {
  trace.reserved = 0;
  for (graph::Event& event : trace.events) {
    auto* const op = std::get_if<graph::Operator>(&event);
    if (op != nullptr) op->ns = op->reserved = 0;
  }
  return trace;
}

// Writes the trace and reads it again. Throws when the format does not allow it.
inline graph::Trace read_back(const graph::Trace& trace) {
  std::stringstream file;
  graph::write_trace(trace, file);
  return graph::read_trace(file, "step.jsonl");
}

}  // namespace neap::test::tracing
