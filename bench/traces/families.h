// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// traces/families.h: records the forwards of generators.h. Each function records about `operators`
// operators, including those of the backward and the optimizer, and returns the loss. REQUIRES:
// operators >= 100.
#pragma once

#include "layers.h"

#include <algorithm>
#include <cstdint>

namespace neap::bench {

Value record_chain(Layers& layers, std::int64_t operators);
Value record_residual(Layers& layers, std::int64_t operators);
Value record_unet(Layers& layers, std::int64_t operators);
Value record_dense(Layers& layers, std::int64_t operators);
Value record_recurrent(Layers& layers, std::int64_t operators);
Value record_transformer(Layers& layers, std::int64_t operators);
Value record_random(Layers& layers, std::int64_t operators);
Value record_unrolled(Layers& layers, std::int64_t operators);

// Records blocks as long as another one, as large as the largest so far, fits before `end`.
// `later`: operators that each block will cause later, outside of itself.
template <class Block>
void repeat(Layers& layers, std::int64_t end, std::int64_t later, Block block) {
  std::int64_t largest = 0;
  for (std::int64_t owed = 0; layers.operators() + owed + largest + later <= end; owed += later) {
    const std::int64_t before = layers.operators();
    block();
    largest = std::max(largest, layers.operators() - before);
  }
}

// Adds single operators up to `end`, where no whole block fits any more.
template <class Shaped>
Shaped pad(Layers& layers, std::int64_t end, Shaped x) {
  while (layers.operators() + 2 <= end) x = layers.gelu(x);
  return x;
}

}  // namespace neap::bench
