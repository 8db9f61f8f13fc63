// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// graph/categories.h: what each storage of a step is for.
#pragma once

#include "graph/program.h"

#include <neap/timeline.h>

#include <string>
#include <vector>

namespace neap::graph {

// The category of each storage of the program, by its index. REQUIRES: of the same trace.
std::vector<Category> categories_of(const Trace& trace, const Program& program);
// For people: "aten::mul in the backward".
std::string text_of(const Operator& op);

}  // namespace neap::graph
