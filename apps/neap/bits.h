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

// Where bits differ first, and which; empty when all are equal. Runs `plain_again` only where `plain` and `inside` differ: a
// model that does not repeat itself (an operator without a fixed order of sums, a static counter) differs from itself, and that
// is to be said of it and not of neap. REQUIRES: all are of as many steps.
std::string bits_differ(const States& plain, const States& inside,
                        const std::function<States()>& plain_again);

}  // namespace neap::app
