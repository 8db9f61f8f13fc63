// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The system gives no memory for the record of a write in place that has happened.
#include "faults/shim.h"
#include "regression/evicting.h"

#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

namespace neap::faults {
namespace {

TEST(RecordMemory, that_runs_out_after_a_write_in_place_leaves_its_result) {
  constexpr std::int64_t kSide = 32;
  constexpr std::int64_t kTensors = 4000;  // whose records take several chunks of the pool
  torch::manual_seed(3);
  const at::Tensor x = torch::randn({kSide, kSide});
  const at::Tensor written = (x * 2).add_(x);
  std::vector<at::Tensor> all;
  all.reserve(kTensors);
  Scope scope(
      Options{.budget = test::room_for(kTensors + 100, kSide * kSide * 4), .policy = Online{}});
  for (std::int64_t i = 0; i < kTensors; ++i) all.push_back(x * 2);
  std::string why;
  std::size_t last = 0;
  watch("/nowhere", {.call = Call::Map, .k = 1, .error = ENOMEM, .for_ever = true});
  try {
    for (; last < all.size(); ++last) all[last].add_(x);
  } catch (const std::exception& error) {
    why = error.what();
  }
  stop();
  ASSERT_NE(why.find("no more memory for neap's own records"), std::string::npos) << why;
  EXPECT_THROW((void)torch::empty({*memory::budget()}, torch::kInt8), BudgetExceeded);  // evicts
  engine::Engine::instance().validate();
  ASSERT_GT(last, 0U);
  EXPECT_TRUE(test::evicted(all[last - 1])) << "else the test shows nothing";
  for (std::size_t i = 0; i <= last; ++i) {
    ASSERT_TRUE(at::equal(all[i], written)) << i << " of " << last;
  }
  scope.end();
}

}  // namespace
}  // namespace neap::faults
