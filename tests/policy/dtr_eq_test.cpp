// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "policy/dtr_eq.h"

#include "engine/recipes.h"
#include "intercept/operators.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>
#include <random>
#include <set>

namespace neap::policy {
namespace {

using engine::Block;
using engine::Recipes;
using engine::Residence;

const intercept::OperatorTraits& traits() {
  return intercept::traits_of(
      c10::Dispatcher::singleton().findSchemaOrThrow("aten::add", "Tensor"));
}

// Blocks without memory, connected by recipes.
class DtrEqTest : public testing::Test {
 public:
  ~DtrEqTest() override { recipes_.clear(); }

 protected:
  Block& make(const std::vector<Block*>& reads, float cost, std::int64_t bytes) {
    Block* const block = recipes_.create_block(nullptr, bytes);
    if (reads.empty()) return *block;
    const Recipes::NewWrite write{block, 0, 0, true};
    recipes_.create_node(traits(), reads, {&write, 1}, {})->cost_ns = cost;
    block->cost_ns = cost;
    return *block;
  }
  void go(Block& block) {
    block.residence = Residence::Evicted;
    policy_.on_evict(block);
  }
  void come_back(Block& block) {
    block.residence = Residence::Resident;
    policy_.on_restore(block);
  }
  Block* choose(const std::vector<Block*>& blocks, double clock = 1000) {
    return policy_.choose(blocks, clock, copies_).block;
  }

  Recipes recipes_;
  engine::Counts counts_;
  const engine::BlockCopies copies_{counts_};  // without a tier
  DtrEq policy_;
};

TEST_F(DtrEqTest, takes_what_is_cheap_large_and_long_unused) {
  Block& given = make({}, 0, 4096);
  Block& dear = make({&given}, 900, 4096);
  Block& cheap = make({&given}, 100, 4096);
  EXPECT_EQ(choose({&dear, &cheap}), &cheap);
  Block& large = make({&given}, 100, 65536);
  EXPECT_EQ(choose({&dear, &cheap, &large}), &large);
  Block& fresh = make({&given}, 100, 65536);
  fresh.last_use = 990;
  EXPECT_EQ(choose({&fresh, &cheap}), &cheap);
  large.replays = 40;
  EXPECT_EQ(choose({&large, &cheap}), &cheap) << "each time that it came back makes it dearer";
}

TEST_F(DtrEqTest, leaves_what_is_locked_or_pinned) {
  Block& given = make({}, 0, 4096);
  Block& one = make({&given}, 1, 4096);
  Block& other = make({&given}, 500, 4096);
  ++one.locks;
  EXPECT_EQ(choose({&one, &other}), &other);
  ++other.pins;
  EXPECT_EQ(choose({&one, &other}), nullptr);
}

TEST_F(DtrEqTest, counts_the_neighbourhood_until_it_is_back) {
  Block& given = make({}, 0, 4096);
  Block& input = make({&given}, 5000, 4096);
  Block& near = make({&input}, 10, 4096);
  Block& far = make({&given}, 20, 4096);
  EXPECT_EQ(choose({&near, &far}), &near);
  go(input);
  EXPECT_EQ(choose({&near, &far}), &far) << "near needs its input first";
  come_back(input);
  EXPECT_EQ(choose({&near, &far}), &near);
}

// As long as nothing comes back, the policy's sums are exact. They equal those of a search through
// everything that is evicted.
TEST_F(DtrEqTest, agrees_with_a_search_of_the_graph_in_random_graphs) {
  std::mt19937 random(5);
  for (int graph = 0; graph < 60; ++graph) {
    Recipes recipes;
    engine::Counts counts;
    const engine::BlockCopies copies(counts);
    DtrEq policy;
    std::vector<Block*> blocks;
    std::map<Block*, std::set<Block*>> neighbours;
    for (int i = 0; i < 40; ++i) {
      Block* const block =
          recipes.create_block(nullptr, 1024 * (1 + static_cast<std::int64_t>(random() % 64)));
      block->last_use = static_cast<double>(random() % 900);
      if (i >= 3) {
        std::set<Block*> reads{blocks[random() % blocks.size()], blocks[random() % blocks.size()]};
        const std::vector<Block*> list(reads.begin(), reads.end());
        const Recipes::NewWrite write{block, 0, 0, true};
        block->cost_ns = static_cast<float>(1 + random() % 1000);
        recipes.create_node(traits(), list, {&write, 1}, {})->cost_ns = block->cost_ns;
        for (Block* const read : reads) {
          neighbours[block].insert(read);
          neighbours[read].insert(block);
        }
      }
      blocks.push_back(block);
    }
    std::vector<Block*> left(blocks.begin() + 3, blocks.end());
    while (left.size() > 1) {
      const auto score = [&](Block* block) {
        double cost = static_cast<double>(block->cost_ns) + 1;
        std::set<Block*> seen;
        std::vector<Block*> search(1, block);
        while (!search.empty()) {
          Block* const at = search.back();
          search.pop_back();
          for (Block* const next : neighbours[at]) {
            if (next->residence != Residence::Evicted || !seen.insert(next).second) continue;
            cost += static_cast<double>(next->cost_ns);
            search.push_back(next);
          }
        }
        return cost / (static_cast<double>(block->bytes) * (1000 - block->last_use + 1));
      };
      Block* const best = *std::ranges::min_element(left, {}, score);
      Block* const chosen = policy.choose(left, 1000, copies).block;
      ASSERT_EQ(score(chosen), score(best)) << "graph " << graph << ", " << left.size() << " left";
      chosen->residence = Residence::Evicted;
      policy.on_evict(*chosen);
      std::erase(left, chosen);
    }
    recipes.clear();
  }
}

}  // namespace
}  // namespace neap::policy
