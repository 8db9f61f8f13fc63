// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/composites.h: modules whose forward() is known to do more than call its children in
// order.
#pragma once

#include "analysis/walk.h"

#include <torch/nn/module.h>

#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace neap::analysis {

// What happens between children: additions, functional activations, written-out attention.
using Between = std::function<void(Walk&)>;
// The name of a child, or what happens between two.
using Stage = std::variant<std::string, Between>;

// In the order of forward(); empty: the module is not known.
std::vector<Stage> stages_of(const torch::nn::Module& module);

}  // namespace neap::analysis
