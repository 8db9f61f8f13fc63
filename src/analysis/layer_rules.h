// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/layer_rules.h: what autograd keeps of each of LibTorch's layers, and the sizes of its
// output.
#pragma once

#include "analysis/walk.h"

#include <torch/nn/module.h>

namespace neap::analysis {

// Applies the rule of one layer. False: the layer is not known, and nothing has changed.
bool go_through(const torch::nn::Module& layer, Walk& walk);
// The part of go_through() for layers of tokens.
bool go_through_sequence(const torch::nn::Module& layer, Walk& walk);

// True for modules with a rule that covers their children.
bool is_whole(const torch::nn::Module& layer);

// True for layers that read integers.
bool wants_integers(const torch::nn::Module& layer);

}  // namespace neap::analysis
