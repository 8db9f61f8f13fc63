// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A deleter that throws ends the program, so what a dying tensor sets off needs no memory.
#include "engine/engine.h"
#include "memory/allocator.h"
#include "no_memory/failing_new.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace neap::no_memory {
namespace {

// Of slabs and of pages, so that the free runs lie apart when each second one dies.
std::vector<at::Tensor> some_tensors() {
  std::vector<at::Tensor> all;
  for (std::int64_t i = 0; i < 400; ++i) {
    all.push_back(torch::empty({i % 3 == 0 ? 100 : 4096 * (i % 7 + 1)}, torch::kInt8));
  }
  return all;
}

void drop_each_second(std::vector<at::Tensor>& tensors) {
  for (std::size_t i = 0; i < tensors.size(); i += 2) tensors[i].reset();
  for (std::size_t i = 1; i < tensors.size(); i += 2) tensors[i].reset();
}

TEST(Deleters, give_memory_back_without_taking_some) {
  std::vector<at::Tensor> tensors = some_tensors();
  fail_new(1, /*for_ever=*/true);
  drop_each_second(tensors);
  EXPECT_EQ(stop_failing(), 0);
  memory::validate();
}

TEST(Deleters, of_a_scope_let_records_and_recipes_go) {
  constexpr std::int64_t kSide = 64;
  torch::manual_seed(3);
  const at::Tensor x = torch::randn({kSide, kSide}), outside = torch::randn({kSide, kSide});
  // It cannot be made again, and others are made from it. So the engine asks whether to hold it.
  at::Tensor given = outside.clone();
  const std::int64_t one = memory::footprint(kSide * kSide * 4);
  Scope scope(Options{.budget = Bytes(memory::usage().live + 20 * one), .policy = Online{}});
  std::vector<at::Tensor> chain{given * 2};
  for (int i = 0; i < 60; ++i) chain.push_back(chain.back() + x);
  const std::vector<at::Tensor> of_given{given + 1, given + 2};
  ASSERT_GT(engine::Engine::instance().stats().evictions, 20);
  fail_new(1, /*for_ever=*/true);
  given.reset();
  EXPECT_GT(stop_failing(), 0) << "else no search has failed";
  engine::Engine::instance().validate();
  fail_new(1, /*for_ever=*/true);
  drop_each_second(chain);
  stop_failing();
  engine::Engine::instance().validate();
  memory::validate();
  scope.end();
  EXPECT_TRUE(at::equal(of_given[1], outside + 2));
  EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0);
}

// The scope is left by the exception, and what was evicted is lost with it.
TEST(Deleters, of_a_scope_that_found_no_memory_forget_all) {
  constexpr std::int64_t kSide = 64;
  const at::Tensor x = torch::ones({kSide, kSide});
  const std::int64_t one = memory::footprint(kSide * kSide * 4);
  std::vector<at::Tensor> chain{x * 2};
  bool thrown = false;
  try {
    const Scope scope(
        Options{.budget = Bytes(memory::usage().live + 20 * one), .policy = Online{}});
    for (int i = 0; i < 60; ++i) chain.push_back(chain.back() + x);
    fail_new(1, /*for_ever=*/true);
    (void)(chain.front() + x);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  stop_failing();
  EXPECT_TRUE(thrown);
  EXPECT_EQ(engine::Engine::instance().recorder_bytes(), 0);
  EXPECT_ANY_THROW((void)(chain[1] + x)) << "it was evicted";
  chain.clear();
  memory::validate();
  const Scope scope(Options{.budget = Bytes(memory::usage().live + 20 * one), .policy = Online{}});
  EXPECT_EQ((x + x).sum().item<float>(), 2.F * kSide * kSide);
}

}  // namespace
}  // namespace neap::no_memory
