// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/operators/plain_run.h: what an operator and its backward do in plain LibTorch.
#pragma once

#include "operators/operator_calls.h"
#include "support/bytes.h"

#include <optional>
#include <string>

namespace neap::test::operators {

struct Plain {
  ByteLists before, after;  // the arguments
  ByteLists outputs, gradients, generator;
  std::string text;
  bool differentiable = false;
  std::string why_not;  // why there is no backward
};

// Runs the operator and its backward. `byte` fills the memory that they may take.
Plain run_plain(const Case& c, int byte);

// The first difference between two runs, in words.
std::optional<std::string> first_difference(const Plain& a, const Plain& b);

}  // namespace neap::test::operators
