// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// traces/families.h: the forwards of generators.h. Each records about so many operators, those of the backward and the
// optimizer included, and returns the loss. REQUIRES: operators >= 100.
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

// Records a block, and more while one as large as the largest so far fits before `end`. `later`: what each will still cause
// outside of it.
template <class Block>
void repeat(Layers& layers, std::int64_t end, std::int64_t later, Block block) {
  std::int64_t largest = 0;
  for (std::int64_t owed = 0; layers.operators() + owed + largest + later <= end; owed += later) {
    const std::int64_t before = layers.operators();
    block();
    largest = std::max(largest, layers.operators() - before);
  }
}

// Operators on the way to `end` for which no block is small enough.
template <class Shaped>
Shaped pad(Layers& layers, std::int64_t end, Shaped x) {
  while (layers.operators() + 2 <= end) x = layers.gelu(x);
  return x;
}

}  // namespace neap::bench
