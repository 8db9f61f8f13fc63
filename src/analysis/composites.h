// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/composites.h: modules whose forward() is known to do more than call their children in order.
#pragma once

#include "analysis/walk.h"

#include <torch/nn/module.h>

#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace neap::analysis {

// What happens between children: additions, functional activations, attention written out.
using Between = std::function<void(Walk&)>;
// A child by its name, or what is between two.
using Stage = std::variant<std::string, Between>;

// In the order in which forward() goes through them; empty: the module is none of these.
std::vector<Stage> stages_of(const torch::nn::Module& module);

}  // namespace neap::analysis
