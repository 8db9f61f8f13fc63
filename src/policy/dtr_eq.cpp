// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "policy/dtr_eq.h"

#include <algorithm>
#include <array>
#include <limits>

namespace neap::policy {

using engine::Block;
using engine::Read;
using engine::Residence;
using engine::Write;

namespace {

// Up to here every candidate is looked at, beyond it a sample of as many.
constexpr std::size_t kSample = 128;

bool is_gone(const Block& block) {
  return block.residence == Residence::Evicted || block.residence == Residence::Gone;
}

}  // namespace

std::uint32_t DtrEq::find(std::uint32_t component) {
  while (components_[component].parent != component) {
    components_[component].parent = components_[components_[component].parent].parent;
    component = components_[component].parent;
  }
  return component;
}

// What would have to run before the block's operators could (its gone inputs), and what would then hang on it (gone
// blocks that are made from it).
template <class Visit>
void DtrEq::for_each_gone_neighbour(Block& block, Visit visit) {
  for (Write* write = block.chain; write != nullptr; write = write->previous) {
    for (const Read& read : write->node()->reads()) {
      if (is_gone(*read.block) && read.block->component != kNone) visit(*read.block);
    }
    if (write->whole) break;
  }
  for (Read* read = block.readers; read != nullptr; read = read->next) {
    for (const Write& write : read->node()->writes()) {
      if (write.block != nullptr && is_gone(*write.block) && write.block->component != kNone) {
        visit(*write.block);
      }
    }
  }
}

double DtrEq::neighbourhood(Block& block) {
  std::array<std::uint32_t, 16> seen{};
  std::size_t count = 0;
  double cost = 0;
  for_each_gone_neighbour(block, [&](Block& neighbour) {
    const std::uint32_t root = find(neighbour.component);
    if (std::find(seen.begin(), seen.begin() + count, root) != seen.begin() + count) return;
    if (count < seen.size()) seen[count++] = root;
    cost += components_[root].cost;
  });
  return cost;
}

double DtrEq::score(Block& block, double clock) {
  // Each time it came back makes the next time dearer, so that no block goes to and fro while others sit still.
  const double own = static_cast<double>(block.cost_ns) * (1.0 + block.replays);
  const double staleness = clock - block.last_use + 1.0;
  return (own + neighbourhood(block) + 1.0) / (static_cast<double>(block.bytes) * staleness);
}

std::uint32_t DtrEq::next_random() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  return random_;
}

Block* DtrEq::choose(std::span<Block* const> evictable, double clock) {
  Block* best = nullptr;
  double lowest = std::numeric_limits<double>::infinity();
  const auto look = [&](Block* block) {
    if (!engine::can_go(*block)) return;
    const double value = score(*block, clock);
    if (value < lowest) {
      lowest = value;
      best = block;
    }
  };
  if (evictable.size() <= kSample) {
    for (Block* const block : evictable) look(block);
    return best;
  }
  // Among many, each look would wait for memory several times over: ask for all of a kind at once.
  std::array<Block*, kSample> sample;
  for (Block*& block : sample) {
    block = evictable[next_random() % evictable.size()];
    __builtin_prefetch(block);
    __builtin_prefetch(&block->replays);
  }
  for (const Block* const block : sample) {
    __builtin_prefetch(block->chain);
    __builtin_prefetch(block->readers);
  }
  for (const Block* const block : sample) {
    if (block->chain != nullptr) __builtin_prefetch(block->chain->node());
    if (block->readers != nullptr) __builtin_prefetch(block->readers->node());
  }
  for (Block* const block : sample) look(block);
  if (best != nullptr) return best;
  for (Block* const block : evictable) look(block);  // nearly everything is locked
  return best;
}

void DtrEq::went(Block& block) {
  auto mine = static_cast<std::uint32_t>(components_.size());
  components_.push_back({mine, static_cast<double>(block.cost_ns)});
  for_each_gone_neighbour(block, [&](Block& neighbour) {
    if (&neighbour == &block) return;
    const std::uint32_t root = find(neighbour.component);
    if (root == mine) return;
    components_[mine].cost += components_[root].cost;
    components_[root].parent = mine;
  });
  block.component = mine;
}

void DtrEq::came_back(Block& block) {
  if (block.component == kNone) return;
  Component& component = components_[find(block.component)];
  component.cost = std::max(0.0, component.cost - static_cast<double>(block.cost_ns));
  block.component = kNone;
}

void DtrEq::reset() { components_.assign(1, Component{0, 0}); }

}  // namespace neap::policy
