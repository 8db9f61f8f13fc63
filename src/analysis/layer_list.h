// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// analysis/layer_list.h: helpers for layer rules.
#pragma once

#include "analysis/walk.h"

#include <torch/nn/module.h>

#include <string>
#include <utility>

namespace neap::analysis {

inline std::int64_t product(const Sizes& sizes, std::size_t begin, std::size_t end) {
  std::int64_t result = 1;
  for (std::size_t i = begin; i < end; ++i) result *= sizes[i];
  return result;
}

// Makes the last dimension of the current tensor `features` wide. If dimension 1, before places,
// has that width, `tokens` decides: true assumes that the places are tokens, false that a mean over
// the places was taken.
inline void want_features(Walk& walk, std::int64_t features, bool tokens = false) {
  const Sizes& sizes = walk.sizes();
  if (sizes.size() > 1 && sizes.back() == features) return;
  if (product(sizes, 1, sizes.size()) == features) {
    // A view, if anything: no storage of its own.
    walk.view({walk.batch(), features});
  } else if (sizes.size() > 2 && sizes[1] == features && tokens) {
    walk.assume({walk.batch(), product(sizes, 2, sizes.size()), features},
                "its places are assumed to be tokens");
  } else if (sizes.size() > 2 && sizes[1] == features) {
    walk.assume({walk.batch(), features}, "a mean over all places is assumed before it");
  } else {
    Sizes wanted = sizes;
    if (wanted.size() < 2) wanted.push_back(features);
    wanted.back() = features;
    walk.assume(wanted, std::to_string(features) + " features are assumed to reach it");
  }
}

// Calls go(layer) with the layer's type when it is one of Layers. False when it is none of them, or
// `go` returns false.
template <class... Layers, class Go>
bool go_as_one_of(const torch::nn::Module& layer, const Go& go) {
  const auto try_one = [&](const auto* known) { return known != nullptr && go(*known); };
  return (try_one(layer.as<Layers>()) || ...);
}

}  // namespace neap::analysis
