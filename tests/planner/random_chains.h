// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/planner/random_chains.h: random chains for the planner, and the memory that their values
// share.
#pragma once

#include "planner/chain.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace neap::planner::chains {

using Chain = std::vector<ChainStage>;

inline std::int64_t between(std::mt19937_64& random, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
}

// A piece of memory that values `first` to `last` share. It counts once.
struct Item {
  std::size_t first;
  std::size_t last;
  std::int64_t bytes;
};
using Items = std::vector<Item>;

// Each stage makes one or two items. Most belong to one value only.
inline Items any_items(std::mt19937_64& random, std::int64_t stages, std::int64_t largest) {
  Items items;
  for (std::int64_t value = 1; value <= stages; ++value) {
    for (std::int64_t i = between(random, 1, 2); i > 0; --i) {
      const std::int64_t last = value + (random() % 2 == 0 ? between(random, 0, 3) : 0);
      items.push_back({static_cast<std::size_t>(value),
                       static_cast<std::size_t>(std::min(last, stages)),
                       between(random, 0, largest)});
    }
  }
  return items;
}

// Sets the sizes of the outputs, and what they share, from the items.
inline void describe_values(const Items& items, Chain& chain) {
  for (const Item& item : items) {
    for (std::size_t value = item.first; value <= item.last; ++value) {
      ChainStage& maker = chain[value - 1];
      maker.output += item.bytes;
      const std::size_t earlier = value - item.first;
      if (maker.shared.size() < earlier) maker.shared.resize(earlier, 0);
      for (std::size_t i = 0; i < earlier; ++i) maker.shared[i] += item.bytes;
    }
  }
}

// The bytes of a stage's output that its input does not share.
inline std::int64_t fresh(const ChainStage& stage) {
  return stage.output - (stage.shared.empty() ? 0 : stage.shared.front());
}

inline Chain any_chain(std::mt19937_64& random, std::int64_t stages, std::int64_t largest,
                       const Items& items) {
  Chain chain(static_cast<std::size_t>(stages));
  describe_values(items, chain);
  for (ChainStage& stage : chain) {
    stage.ns = between(random, 0, 9);
    stage.forward = between(random, 0, 2);
    stage.gradient = between(random, 0, 3);
    stage.options.resize(static_cast<std::size_t>(between(random, 1, 3)));
    for (ChainOption& option : stage.options) {
      option = {.kept = fresh(stage) + between(random, 0, 2 * largest),
                .backward_ns = between(random, 0, 9),
                .forward = between(random, 0, 3),
                .backward = between(random, 0, 5)};
      option.again_ns = between(random, 0, stage.ns + option.backward_ns);
      option.again = between(random, 0, option.kept + std::max(option.forward, option.backward));
    }
  }
  return chain;
}

inline std::int64_t bytes_of_all(const Chain& chain) {
  std::int64_t sum = 0;
  for (const ChainStage& stage : chain) {
    sum += stage.gradient;
    for (const ChainOption& option : stage.options) sum += option.kept + option.backward;
  }
  return sum;
}

}  // namespace neap::planner::chains
