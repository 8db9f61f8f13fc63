// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "engine/gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace neap::test {
namespace {

using engine::Gate;

void own(Gate& gate) {
  const auto lock = gate.lock_owner();
  gate.own();
}

TEST(Gate, belongs_to_the_thread_that_took_it) {
  Gate gate;
  EXPECT_FALSE(gate.has_owner());
  own(gate);
  EXPECT_TRUE(gate.owner_here());
  bool there = true;
  std::thread([&] { there = gate.owner_here(); }).join();
  EXPECT_FALSE(there);
  const auto lock = gate.lock_owner();
  gate.disown();
  EXPECT_FALSE(gate.has_owner());
}

TEST(Gate, without_an_owner_nobody_evicts) {
  Gate gate;
  EXPECT_EQ(gate.evict_for_another(100, [](std::int64_t bytes) { return bytes; }), 0);
}

TEST(Gate, another_thread_evicts_by_itself_while_the_owner_is_in_a_kernel) {
  Gate gate;
  own(gate);
  std::int64_t got = 0;
  std::thread::id by;
  const auto evict = [&](std::int64_t bytes) {
    by = std::this_thread::get_id();
    return bytes / 2;
  };
  const auto ask = [&] {
    std::thread other([&] { got = gate.evict_for_another(100, evict); });
    const std::thread::id id = other.get_id();
    other.join();
    return id;
  };
  {
    const Gate::Kernel kernel(gate);
    EXPECT_EQ(ask(), by);
    EXPECT_EQ(got, 50);
    { const Gate::Kernel inner(gate); }
    EXPECT_EQ(ask(), by) << "the kernel around the inner one goes on";
    { const Gate::Eviction evicting(gate); }
    EXPECT_EQ(ask(), by) << "so it does after the owner's own eviction";
  }
  EXPECT_TRUE(gate.in_user_phase());
  ASSERT_TRUE(gate.begin_wait());
  EXPECT_EQ(ask(), by) << "an owner that waits is as one in a kernel";
  gate.end_wait();
  EXPECT_TRUE(gate.in_user_phase());
}

TEST(Gate, the_owner_evicts_for_others_between_its_kernels) {
  Gate gate;
  own(gate);
  std::atomic<bool> done{false};
  std::int64_t got = 0;
  std::thread::id by;
  std::thread other([&] {
    got = gate.evict_for_another(100, [](std::int64_t) { return std::int64_t{-1}; });
    done = true;
  });
  while (!done) {
    if (!gate.is_asked()) continue;
    gate.serve([&](std::int64_t bytes) {
      by = std::this_thread::get_id();
      return bytes / 4;
    });
  }
  other.join();
  EXPECT_EQ(got, 25);
  EXPECT_EQ(by, std::this_thread::get_id());
}

TEST(Gate, another_thread_evicts_in_the_programs_time_when_that_is_shared) {
  Gate gate;
  gate.share_program_time();
  own(gate);
  gate.begin_work();
  gate.end_work();
  std::thread::id by;
  std::thread other([&] {
    gate.evict_for_another(100, [&](std::int64_t bytes) {
      by = std::this_thread::get_id();
      return bytes;
    });
  });
  const std::thread::id id = other.get_id();
  other.join();
  EXPECT_EQ(by, id);
  const auto lock = gate.lock_owner();
  gate.disown();
  EXPECT_TRUE(gate.in_user_phase()) << "the next owner begins there";
}

// The records are a plain number here, so two threads at once would lose counts.
void expect_one_thread_at_a_time_touches_the_records(Gate& gate) {
  constexpr int kKernels = 20'000, kOthers = 3;
  own(gate);
  std::int64_t records = 0;
  std::atomic<bool> over{false};
  std::atomic<std::int64_t> evictions{0};
  const auto evict = [&](std::int64_t bytes) {
    ++records;
    ++evictions;
    return bytes;
  };
  std::vector<std::thread> others;
  for (int i = 0; i < kOthers; ++i) {
    others.emplace_back([&] {
      while (!over) gate.evict_for_another(1, evict);
    });
  }
  std::int64_t own_changes = 0;
  const auto change = [&] {
    ++records;
    ++own_changes;
  };
  for (int i = 0; i < kKernels || evictions < kKernels; ++i) {
    gate.begin_work();
    if (gate.is_asked()) gate.serve(evict);
    change();
    {
      const Gate::Kernel kernel(gate);
      if (i % 3 == 0) {
        const Gate::Eviction evicting(gate);
        change();
      } else {
        std::this_thread::yield();
      }
    }
    change();
    gate.end_work();
  }
  over = true;
  gate.begin_work();
  {
    const Gate::Kernel kernel(gate);  // lets the last waiting threads end
    for (std::thread& other : others) other.join();
  }
  EXPECT_EQ(records, own_changes + evictions);
}

TEST(Gate, one_thread_at_a_time_touches_the_records) {
  Gate gate;
  expect_one_thread_at_a_time_touches_the_records(gate);
}

TEST(Gate, one_thread_at_a_time_touches_the_records_when_the_programs_time_is_shared) {
  Gate gate;
  gate.share_program_time();
  expect_one_thread_at_a_time_touches_the_records(gate);
}

}  // namespace
}  // namespace neap::test
