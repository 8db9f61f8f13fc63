// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The destructors are defined here, so that each type has one vtable and is caught across shared
// libraries.
#include <neap/graph.h>

namespace neap::graph {

FormatError::FormatError(const std::string& text, std::int64_t line)
    : InvalidArgument(text), line(line) {}
FormatError::~FormatError() = default;

BrokenPlan::BrokenPlan(const std::string& text, std::int64_t line)
    : InvalidArgument(text), line(line) {}
BrokenPlan::~BrokenPlan() = default;

}  // namespace neap::graph
