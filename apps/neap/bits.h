// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What to report when steps that should have equal bits differ.
#pragma once

#include <neap/train.h>

#include <cstdint>
#include <functional>
#include <string>

namespace neap::app {

// Describes the first difference. Empty: the states are equal. For a difference, this asks for
// `plain_again`, the state after a second run of the plain steps up to this one. Comparing it with
// `plain` tells whether plain LibTorch differs from itself, or neap from plain LibTorch. `step`
// counts from 0.
std::string bits_differ(std::int64_t step, const train::State& plain, const train::State& inside,
                        const std::function<train::State()>& plain_again);

}  // namespace neap::app
