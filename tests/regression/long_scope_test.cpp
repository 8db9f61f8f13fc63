// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A scope that is held open for a whole training was recorded for ever: some 400 bytes
// an operator, outside of the budget.
#include "regression/evicting.h"

#include <malloc.h>

namespace neap::test {
namespace {

std::size_t allocated() {
  const struct mallinfo2 now = mallinfo2();
  return now.uordblks + now.hblkhd;
}

TEST(LongScope, forgets_its_recording_and_says_so) {
  constexpr int kOperators = (1 << 18) + 100;
  const at::Tensor x = torch::rand({256});
  Scope scope({.budget = Bytes(std::int64_t{1} << 30)});
  const std::size_t before = allocated();
  at::Tensor y = x.sin();
  for (int i = 1; i < kOperators; ++i) y = x.sin();
  // The run log has 8 bytes an operator, in a vector that doubles.
  EXPECT_LT(allocated() - before, std::size_t{16} << 20);
  EXPECT_EQ(scope.stats().operators, kOperators);
  scope.end();
  EXPECT_NE(scope.stats().plan_note.find("more than 262144 operators"), std::string::npos)
      << scope.stats().plan_note;
  EXPECT_EQ(memcmp(y.const_data_ptr(), x.sin().const_data_ptr(), 1024), 0);
}

}  // namespace
}  // namespace neap::test
