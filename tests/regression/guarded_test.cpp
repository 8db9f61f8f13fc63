// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A program keeps the address of a storage that is evicted afterwards. With NEAP_GUARD_EVICTED it
// ends at the access.
#include "regression/evicting.h"

#include <cstdlib>

namespace neap::test {
namespace {

constexpr std::int64_t kSide = 128;
constexpr std::int64_t kBytes = kSide * kSide * 4;

// Returns what a stale address reads.
float read_stale_address() {
  const at::Tensor x = torch::ones({kSide, kSide});
  Scope scope({.budget = room_for(3, kBytes), .policy = Online{}});
  const at::Tensor z = x + 2;
  const volatile float* const address = z.const_data_ptr<float>();
  std::vector<at::Tensor> filling;
  while (!evicted(z)) filling.push_back(torch::empty({kSide, kSide}));
  return *address;
}

TEST(GuardedStorages, end_the_program_where_it_reads_them) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process of its own reads the variable anew
  ::setenv("NEAP_GUARD_EVICTED", "1", 1);
  EXPECT_DEATH(read_stale_address(), "");
  ::unsetenv("NEAP_GUARD_EVICTED");
  static_cast<void>(read_stale_address());  // without it, nothing tells
}

// The whole engine with guarded pages: the same bytes, inside the same budget.
TEST(GuardedStorages, come_back_as_without_a_guard) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ::setenv("NEAP_GUARD_EVICTED", "1", 1);
  EXPECT_EXIT(
      {
        expect_same_bytes_under_budgets(
            [] {
              at::Tensor x = torch::rand({kSide, kSide}, torch::requires_grad());
              at::Tensor y = x;
              for (int i = 0; i < 40; ++i) y = torch::tanh(y.mm(x));
              y.sum().backward();
              return std::vector<at::Tensor>{y, x.grad()};
            },
            {60, 30});
        memory::validate();
        std::exit(testing::Test::HasFailure() ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
  ::unsetenv("NEAP_GUARD_EVICTED");
}

}  // namespace
}  // namespace neap::test
