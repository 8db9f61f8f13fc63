// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Budgets as people write them.
#include <neap/machine.h>
#include <neap/memory.h>
#include <neap/train.h>

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace neap::test {
namespace {

using train::Budget;

const train::PlainStep kPlain{.base = Bytes(1000), .peak = Bytes(3000), .milliseconds = 1};

std::optional<Bytes> bytes_of(const char* text) { return Budget::parse(text).bytes(kPlain); }

TEST(Budget, is_nothing_or_bytes_or_a_share_of_what_a_plain_step_adds) {
  EXPECT_EQ(bytes_of("none"), std::nullopt);
  EXPECT_EQ(bytes_of("1.5KiB"), Bytes(1536));
  EXPECT_EQ(bytes_of("30%"), Bytes(1600));
  EXPECT_EQ(bytes_of("100 %"), Bytes(3000));
  EXPECT_FALSE(Budget::parse("1.5KiB").is_share());
  EXPECT_TRUE(Budget::parse("0.5%").is_share());
}

TEST(Budget, of_auto_is_less_than_what_the_machine_leaves) {
  memory::trim();
  constexpr std::int64_t kEnough = std::int64_t{256} << 20;
  if (machine::memory().left() < kEnough) GTEST_SKIP() << "too little is left here, or unknown";
  const Budget budget = Budget::parse("auto");
  EXPECT_FALSE(budget.is_share());
  const std::optional<Bytes> bytes = budget.bytes(kPlain);
  ASSERT_TRUE(bytes);
  EXPECT_GT(bytes->count(), memory::usage().reserved);
  EXPECT_LT(bytes->count(), memory::usage().reserved + machine::memory().total);
}

TEST(Budget, of_another_text_is_refused_with_what_is_wrong) {
  for (const char* const text : {"", "0", "0MiB", "-1", "%", "0%", "-3%", "1001%", "nan%", "x%",
                                 "30 percent", "Auto", "NONE", "1.5"}) {
    EXPECT_THROW((void)Budget::parse(text), InvalidArgument) << text;
  }
}

}  // namespace
}  // namespace neap::test
