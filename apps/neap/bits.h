// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What to say when steps that should have equal bits do not.
#pragma once

#include <neap/train.h>

#include <cstdint>
#include <functional>
#include <string>

namespace neap::app {

// Empty where the two are equal; else the first difference. Whether it is neap's is seen by comparing `plain` with
// `plain_again`, the plain steps once more up to this one, which is asked for only then. `step`: from 0.
std::string bits_differ(std::int64_t step, const train::State& plain, const train::State& inside,
                        const std::function<train::State()>& plain_again);

}  // namespace neap::app
