// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// An arena alone: which pages it hands out, what it says that they cost, and how many pages the
// system holds meanwhile. The budget is counted by its answers, so each one is compared with an
// exact number.
#include "memory/arena.h"

#include "device/device.h"

#include "memory/held_pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <vector>

namespace {

using namespace neap;
using namespace neap::memory;
using neap::test::held_pages;

constexpr std::int64_t kMost = std::int64_t{1} << 60;

std::int64_t held(const char* start, std::int64_t bytes) {
  return held_pages(start, bytes).value_or(-1);
}
bool system_tells_pages() {
  const char here = 0;
  return held_pages(&here, kPageBytes).has_value();
}
void fill(char* start, std::int64_t bytes, int value) {
  std::memset(start, value, static_cast<std::size_t>(bytes));
}
bool is_filled(const char* start, std::int64_t bytes, char value) {
  return std::all_of(start, start + bytes, [&](char c) { return c == value; });
}

TEST(Arena, clean_pages_count_and_are_refused_with_how_many_are_missing) {
  Arena arena(device::cpu().pages());
  const Arena::Taken refused = arena.take(8 * kPageBytes, 7 * kPageBytes);
  EXPECT_EQ(refused.start, nullptr);
  EXPECT_EQ(refused.clean_bytes, 8 * kPageBytes);
  const Arena::Taken taken = arena.take(8 * kPageBytes, 8 * kPageBytes);
  ASSERT_NE(taken.start, nullptr);
  EXPECT_EQ(taken.clean_bytes, 8 * kPageBytes);
  EXPECT_EQ(arena.cached(), 0);
  arena.validate();
}

// Under `ulimit -v` the arena must not take all addresses. Otherwise oneDNN could not map the code
// that it generates.
TEST(Arena, leaves_addresses_to_others_where_the_system_limits_them) {
  constexpr rlim_t kLeft = rlim_t{256} << 20, kForOthers = rlim_t{192} << 20;
  const pid_t child = fork();
  if (child == 0) {
    std::ifstream statm("/proc/self/statm");
    rlim_t pages = 0;
    statm >> pages;
    const rlim_t limit = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + kLeft;
    const rlimit limits{limit, limit};
    if (pages == 0 || setrlimit(RLIMIT_AS, &limits) != 0) _exit(2);
    Arena arena(device::cpu().pages());
    if (arena.take(16 * kPageBytes, kMost).start == nullptr) _exit(3);
    const void* const others =
        mmap(nullptr, kForOthers, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    _exit(others == MAP_FAILED ? 4 : 0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "exit " << WEXITSTATUS(status);
}

TEST(Arena, a_cached_run_is_handed_out_again_and_costs_nothing) {
  Arena arena(device::cpu().pages());
  const Arena::Taken first = arena.take(8 * kPageBytes, kMost);
  fill(first.start, 8 * kPageBytes, 1);
  arena.give_back({first.start, 8 * kPageBytes});
  EXPECT_EQ(arena.cached(), 8 * kPageBytes);
  const Arena::Taken again = arena.take(8 * kPageBytes, 0);
  EXPECT_EQ(again.start, first.start);
  EXPECT_EQ(again.clean_bytes, 0);
  EXPECT_EQ(arena.cached(), 0);
}

TEST(Arena, a_cached_run_that_goes_on_as_a_clean_one_costs_what_is_missing) {
  Arena arena(device::cpu().pages());
  const Arena::Taken first = arena.take(8 * kPageBytes, kMost);
  fill(first.start, 8 * kPageBytes, 1);
  arena.give_back({first.start, 8 * kPageBytes});
  const Arena::Taken longer = arena.take(10 * kPageBytes, 2 * kPageBytes);
  EXPECT_EQ(longer.start, first.start);
  EXPECT_EQ(longer.clean_bytes, 2 * kPageBytes);
  EXPECT_EQ(arena.cached(), 0);
  arena.validate();
}

// Two cached runs with a block in use between them. Neither run is large enough alone.
struct Apart {
  explicit Apart(std::int64_t each) : bytes(each), start(arena.take(3 * each, kMost).start) {
    for (int i = 0; i < 3; ++i) fill(start + i * bytes, bytes, i + 1);
    arena.give_back({start, bytes});
    arena.give_back({start + 2 * bytes, bytes});
  }
  Arena arena{device::cpu().pages()};
  std::int64_t bytes;
  char* start;
};

TEST(Arena, cached_pages_that_lie_apart_make_a_run_and_no_byte_of_others_changes) {
  Apart apart(32 * kPageBytes);
  const std::int64_t wanted = 2 * apart.bytes;
  const Arena::Taken taken = apart.arena.take(wanted, 0);
  ASSERT_NE(taken.start, nullptr);
  EXPECT_EQ(taken.clean_bytes, 0) << "they were counted already";
  EXPECT_EQ(apart.arena.cached(), 0);
  apart.arena.validate();
  fill(taken.start, wanted, 9);
  EXPECT_TRUE(is_filled(apart.start + apart.bytes, apart.bytes, 2));
  EXPECT_TRUE(is_filled(taken.start, wanted, 9));
  if (system_tells_pages()) {
    // Together, the new run and the old places have no more pages than before.
    const std::int64_t old =
        held(apart.start, apart.bytes) + held(apart.start + 2 * apart.bytes, apart.bytes);
    const bool overlaps = taken.start >= apart.start && taken.start < apart.start + 3 * apart.bytes;
    if (!overlaps) {
      EXPECT_EQ(old, 0);
    }
    EXPECT_EQ(held(taken.start, wanted), wanted / kPageBytes);
  }
}

TEST(Arena, where_cached_pages_are_too_few_the_answer_says_how_many_more_it_takes) {
  Apart apart(32 * kPageBytes);
  const Arena::Taken refused = apart.arena.take(2 * apart.bytes + 5 * kPageBytes, 4 * kPageBytes);
  EXPECT_EQ(refused.start, nullptr);
  EXPECT_EQ(refused.clean_bytes, 5 * kPageBytes);
  EXPECT_EQ(apart.arena.cached(), 2 * apart.bytes) << "nothing was moved";
  const Arena::Taken taken = apart.arena.take(2 * apart.bytes + 5 * kPageBytes, 5 * kPageBytes);
  ASSERT_NE(taken.start, nullptr);
  EXPECT_EQ(taken.clean_bytes, 5 * kPageBytes);
  EXPECT_EQ(apart.arena.cached(), 0);
  EXPECT_TRUE(is_filled(apart.start + apart.bytes, apart.bytes, 2));
}

TEST(Arena, trim_gives_whole_pages_back_and_says_how_many) {
  if (!system_tells_pages()) GTEST_SKIP() << "this system has no /proc/self/pagemap";
  Arena arena(device::cpu().pages());
  constexpr std::int64_t kBytes = 16 * kPageBytes;
  const Arena::Taken taken = arena.take(kBytes, kMost);
  fill(taken.start, kBytes, 1);
  arena.give_back({taken.start, kBytes});
  ASSERT_EQ(held(taken.start, kBytes), 16);
  EXPECT_EQ(arena.trim(1), kPageBytes) << "a part of a page is a page";
  EXPECT_EQ(held(taken.start, kBytes), 15);
  EXPECT_EQ(arena.cached(), 15 * kPageBytes);
  EXPECT_EQ(arena.trim(4 * kPageBytes), 4 * kPageBytes);
  EXPECT_EQ(held(taken.start, kBytes), 11);
  EXPECT_EQ(arena.trim(kMost), 11 * kPageBytes) << "all there are";
  EXPECT_EQ(held(taken.start, kBytes), 0);
  EXPECT_EQ(arena.trim(kMost), 0);
  arena.validate();
  const Arena::Taken again = arena.take(kBytes, kMost);
  EXPECT_EQ(again.clean_bytes, kBytes);
  EXPECT_TRUE(is_filled(again.start, kBytes, 0)) << "what was given back comes back as zeros";
}

TEST(Arena, all_that_it_said_adds_up_to_what_the_system_holds) {
  if (!system_tells_pages()) GTEST_SKIP() << "this system has no /proc/self/pagemap";
  Arena arena(device::cpu().pages());
  std::vector<memory::Run> runs;
  std::int64_t counted = 0;
  std::uint64_t state = 1;
  const auto next = [&](std::uint64_t end) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::int64_t>((state >> 33) % end);
  };
  char* lowest = nullptr;
  char* highest = nullptr;
  for (int step = 0; step < 2000; ++step) {
    const std::int64_t action = next(10);
    if (action < 6) {
      const std::int64_t bytes = (1 + next(40)) * kPageBytes;
      const std::int64_t allowed = next(30) * kPageBytes;
      const std::int64_t cached = arena.cached();
      const Arena::Taken taken = arena.take(bytes, allowed);
      if (taken.start == nullptr) {
        EXPECT_GT(taken.clean_bytes, allowed);
        EXPECT_EQ(arena.cached(), cached);
        continue;
      }
      EXPECT_LE(taken.clean_bytes, allowed);
      counted += taken.clean_bytes;
      fill(taken.start, bytes, static_cast<int>(runs.size() % 100) + 1);
      runs.push_back({taken.start, bytes});
      if (lowest == nullptr || taken.start < lowest) lowest = taken.start;
      highest = std::max(highest, taken.start + bytes);
    } else if (action < 9 && !runs.empty()) {
      const auto index = static_cast<std::size_t>(next(runs.size()));
      const char first = *runs[index].start;
      EXPECT_TRUE(is_filled(runs[index].start, runs[index].bytes, first)) << step;
      arena.give_back(runs[index]);
      runs.erase(runs.begin() + static_cast<std::ptrdiff_t>(index));
    } else {
      counted -= arena.trim(next(50) * kPageBytes);
    }
    arena.validate();
    std::int64_t live = 0;
    for (const memory::Run& run : runs) live += run.bytes;
    ASSERT_EQ(live + arena.cached(), counted) << step;
  }
  EXPECT_EQ(held(lowest, highest - lowest), counted / kPageBytes);
}

// validate() also counts the nodes that wait for the runs that are out.
TEST(Arena, always_has_nodes_for_what_may_come_back) {
  Arena arena(device::cpu().pages());
  std::vector<memory::Run> runs, forbidden;
  std::uint64_t state = 7;
  const auto next = [&](std::uint64_t end) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::int64_t>((state >> 33) % end);
  };
  const auto take_out = [&](std::vector<memory::Run>& from) {
    const auto index = static_cast<std::ptrdiff_t>(next(from.size()));
    const memory::Run run = from[static_cast<std::size_t>(index)];
    from.erase(from.begin() + index);
    return run;
  };
  std::size_t most = 0;
  for (int step = 0; step < 6000; ++step) {
    const std::int64_t action = next(20);
    // It grows first, and all goes back at the end, in any order.
    if (action < (step < 3000 ? 14 : 3)) {
      const std::int64_t bytes = (1 + next(6)) * kPageBytes;
      const Arena::Taken taken = arena.take(bytes, next(2) == 0 ? kMost : 0);
      if (taken.start != nullptr) runs.push_back({taken.start, bytes});
    } else if (action < 16 && !runs.empty()) {
      arena.give_back(take_out(runs));
    } else if (action == 16 && !runs.empty()) {
      forbidden.push_back(take_out(runs));
      arena.forbid(forbidden.back());
    } else if (action == 17 && !forbidden.empty()) {
      arena.allow(take_out(forbidden));
    } else {
      arena.trim(next(9) * kPageBytes);
    }
    most = std::max(most, runs.size() + forbidden.size());
    ASSERT_NO_THROW(arena.validate()) << step;
  }
  EXPECT_GT(most, 200) << "one chunk of nodes would do";
}

// A process may have 65,530 mappings, and each moved piece adds some.
TEST(Arena, after_8192_moved_pieces_what_is_cached_goes_back_and_the_answer_subtracts_it) {
  Arena arena(device::cpu().pages());
  constexpr std::int64_t kPiece = 2 * kPageBytes, kStep = kPiece + kPageBytes, kPieces = 3;
  constexpr int kMoves = 8192 / 2;
  for (int move = 1; move <= kMoves; ++move) {
    // There are three cached pieces, each with a page in use after it. Two of them are moved
    // together.
    char* const start = arena.take(kPieces * kStep, kMost).start;
    for (int i = 0; i < kPieces; ++i) arena.give_back({start + i * kStep, kPiece});
    const Arena::Taken taken = arena.take(2 * kPiece, 0);
    ASSERT_NE(taken.start, nullptr);
    ASSERT_EQ(taken.clean_bytes, move < kMoves ? 0 : -kPiece) << move;
    ASSERT_EQ(arena.cached(), move < kMoves ? kPiece : 0) << move;
    arena.give_back({taken.start, 2 * kPiece});
    for (int i = 0; i < kPieces; ++i) arena.give_back({start + i * kStep + kPiece, kPageBytes});
    arena.trim(kMost);
  }
  arena.validate();
}

}  // namespace
