// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Places of the engine and of the allocator that a training reaches seldom.
#include "engine/engine.h"
#include "device/device.h"
#include "engine/unseen_memory.h"
#include "memory/allocator.h"
#include "memory/pool.h"
#include "memory/run_nodes.h"
#include "no_memory/failing_new.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace neap::no_memory {
namespace {

// Frees each block that no later node of a replay reads.
class Freeing final : public engine::Director {
 public:
  bool foresees(std::uint64_t /*so_far*/, const intercept::OperatorTraits* /*op*/) override {
    return true;
  }
  std::optional<Before> before_operator() override { return Before{}; }
  After after_operator() override { return {}; }
  [[nodiscard]] bool keeps(const engine::Block& /*block*/) const noexcept override { return false; }
  [[nodiscard]] bool frees(const engine::Block& /*block*/) const noexcept override { return true; }
  void fell_short(std::int64_t /*bytes*/, std::int64_t /*freed*/) noexcept override {}
  void stop() noexcept override {}
};

// Each call of operator new fails while a chain is replayed whose blocks the director frees as soon
// as they have been read.
class Replay : public testing::TestWithParam<bool> {
 protected:
  // Whether call `k` was reached.
  [[nodiscard]] bool fails(std::int64_t k) const {
    Scope scope(Options{.budget = Bytes(memory::usage().live + 20 * one_), .policy = Online{}});
    std::vector<at::Tensor> chain{x_.sin()};
    for (int i = 0; i < 5; ++i) chain.push_back(chain.back().cos());
    EXPECT_THROW((void)torch::empty({*memory::budget()}, torch::kInt8), BudgetExceeded);
    engine::Engine::instance().set_director(std::make_shared<Freeing>());
    bool told = false;
    fail_new(k, GetParam());
    try {
      (void)chain.back().relu_();
    } catch (const std::exception&) {
      told = true;
    }
    const bool reached = stop_failing() >= k;
    EXPECT_TRUE(reached || !told);
    engine::Engine::instance().validate();
    scope.end();
    EXPECT_TRUE(at::equal(chain[4], expected_)) << "failure " << k;
    return reached;
  }

  at::Tensor x_ = torch::linspace(0, 1, 4096);
  at::Tensor expected_ = x_.sin().cos().cos().cos().cos();
  std::int64_t one_ = memory::footprint(4096 * 4);
};

TEST_P(Replay, of_what_a_director_frees_leaves_no_lock_or_mark) {
  std::int64_t k = 1;
  while (fails(k)) ++k;
  EXPECT_GT(k, 20) << "else the test shows nothing";
}

INSTANTIATE_TEST_SUITE_P(OnceAndForEver, Replay, testing::Bool(),
                         [](const auto& info) { return info.param ? "for_ever" : "once"; });

int freed = 0;
void free_by_system(void* /*data*/) { ++freed; }
void on_death(void* /*data*/) {}

TEST(UnseenMemory, that_cannot_be_noted_stays_as_it_was) {
  std::array<char, 100> data{};
  const std::int64_t before = memory::usage().unseen;
  engine::UnseenMemory memory(&free_by_system, &on_death);
  c10::DataPtr pointer(data.data(), data.data(), &free_by_system,
                       c10::Device(c10::DeviceType::CPU));
  fail_new(1, /*for_ever=*/true);
  EXPECT_THROW(memory.adopt(pointer, 100), std::bad_alloc);
  stop_failing();
  EXPECT_FALSE(memory.owns(pointer));
  EXPECT_EQ(memory::usage().unseen, before);
  pointer.clear();
  EXPECT_EQ(freed, 1) << "by the system, as before";
}

TEST(GuardedMemory, goes_back_without_taking_some) {
  constexpr std::int64_t kBytes = 8 * 4096;
  constexpr int kBlocks = 1100;  // more than are guarded at a time
  memory::Pool pool(device::cpu().pages());
  std::vector<void*> blocks;
  for (int i = 0; i < kBlocks; ++i) blocks.push_back(pool.take(kBytes));
  fail_new(1, /*for_ever=*/true);
  for (void* const block : blocks) pool.release_guarded(block);
  EXPECT_EQ(stop_failing(), 0);
  EXPECT_EQ(pool.usage().live, 0);
  pool.validate();
  const void* const again = pool.take(kBytes);
  EXPECT_EQ(again, blocks.front()) << "the oldest addresses are used again";
  pool.release(const_cast<void*>(again));
}

TEST(RunNodes, are_granted_as_far_as_they_were_reserved) {
  memory::RunNodes nodes;
  nodes.reserve(100);
  const std::size_t granted = nodes.free_nodes();
  EXPECT_GE(granted, 100);
  std::vector<void*> taken(granted);
  fail_new(1, /*for_ever=*/true);
  for (void*& node : taken) node = nodes.allocate(48, 8);
  EXPECT_EQ(stop_failing(), 0);
  EXPECT_EQ(nodes.free_nodes(), 0);
  fail_new(1, /*for_ever=*/true);
  EXPECT_THROW((void)nodes.allocate(48, 8), std::bad_alloc);
  stop_failing();
  for (void* const node : taken) nodes.deallocate(node, 48, 8);
  EXPECT_EQ(nodes.free_nodes(), granted);
  EXPECT_THROW((void)nodes.allocate(65, 8), std::bad_alloc) << "no node is as large";
}

}  // namespace
}  // namespace neap::no_memory
