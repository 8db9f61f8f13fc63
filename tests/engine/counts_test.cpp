// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What the engine's clocks count, and count once.
#include "engine/counts.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace neap::engine {
namespace {

void let_time_pass(const Counts& counts) {
  const std::int64_t start = counts.ticks.now_ns();
  while (counts.ticks.now_ns() == start) {
  }
}

TEST(Counts, time_in_neap_is_without_the_time_of_replays_and_of_waiting_for_copies) {
  constexpr std::int64_t kLong = 1'000'000'000'000;
  for (std::int64_t Stats::*const other : {&Stats::replay_ns, &Stats::offload_wait_ns}) {
    Counts counts;
    {
      const Timed own(counts, &Stats::bookkeeping_ns);
      let_time_pass(counts);
      counts.stats.*other += kLong;
    }
    EXPECT_EQ(counts.stats.bookkeeping_ns, 0);
    {
      const Timed own(counts, &Stats::bookkeeping_ns);
      let_time_pass(counts);
    }
    EXPECT_GT(counts.stats.bookkeeping_ns, 0);
  }
}

}  // namespace
}  // namespace neap::engine
