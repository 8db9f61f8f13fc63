// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A plan frees what the step no longer uses. But programs read losses and counts through raw
// pointers, and no trace knows that use. So small storages are never evicted, with or without a
// plan.
#include "regression/evicting.h"

namespace neap::test {
namespace {

TEST(RawAccess, to_a_small_result_works_after_its_last_use_in_a_planned_step) {
  constexpr std::int64_t kSide = 64;
  const at::Tensor x = torch::rand({kSide, kSide});
  const Bytes budget = room_for(8, kSide * kSide * 4);
  std::int64_t planned = 0;
  for (int step = 0; step < 4; ++step) {
    Scope scope({.budget = budget});
    const at::Tensor input = x.detach().requires_grad_();
    at::Tensor y = input;
    for (int i = 0; i < 12; ++i) y = y.tanh();
    const at::Tensor loss = y.sum();
    {
      const at::Tensor twice = loss.detach() * 2;
      loss.backward();
      EXPECT_EQ(*twice.const_data_ptr<float>(), 2 * loss.item<float>());
    }
    const at::Tensor other = x * 3;
    scope.end();
    planned += scope.stats().plan_hits;
    finish_planning();
  }
  EXPECT_GT(planned, 0);
}

}  // namespace
}  // namespace neap::test
