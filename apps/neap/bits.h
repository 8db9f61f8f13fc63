// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The bits of steps inside a budget beside those of plain steps, and whether plain LibTorch repeats its own.
#pragma once

#include <neap/train.h>

#include <functional>
#include <string>
#include <vector>

namespace neap::app {

using States = std::vector<train::State>;  // after each step

struct Verdict {
  enum class Bits {
    kEqual,
    kDifferent,
    // Two plain runs differ, so a difference is not neap's doing. The second has the bits found inside the budget ...
    kUnsteadyButFound,
    kUnsteady,  // ... or neither has
  };
  Bits bits = Bits::kEqual;
  std::string text;  // where bits differ, and which; empty when all are equal
};

// Runs `plain_again` only where `plain` and `inside` differ: a model that does not repeat itself (an operator without a fixed
// order of sums, a static counter) differs from itself, and that is to be said of it and not of neap.
Verdict compare_bits(const States& plain, const States& inside,
                     const std::function<States()>& plain_again);

}  // namespace neap::app
