// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The peaks of a tracker's phases are exact to the byte: of nested phases, of phases that overlap,
// and while other threads allocate. A tracker that takes samples would miss a peak between two of
// them. A tracker that shares one peak with other code would reset theirs.
#include "memory/allocator.h"
#include "memory/blocks.h"
#include "memory/tracked_phases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace neap::test {
namespace {

// This runs before main() calls install().
const std::string kBeforeInstall = [] {
  try {
    auto phase = MemoryTracker().track_memory("early");
  } catch (const InvalidArgument&) {
    return std::string("the wrong type");
  } catch (const Error& error) {
    return std::string(error.what());
  }
  return std::string("nothing was thrown");
}();

// A tracker of a GPU's memory would report 0 here.
TEST_F(Tracker, counts_on_the_cpu_to_the_byte) {
  const c10::DataPtr held = take(2 * kMiB);
  c10::DataPtr result;
  {
    const auto phase = tracker_.track_memory("forward");
    { const c10::DataPtr inside = take(5 * kMiB); }
    result = take(kMiB);
  }
  ASSERT_EQ(tracker_.records().size(), 1);
  const MemoryTracker::Record record = tracker_.records()[0];
  EXPECT_EQ(record.phase, "forward");
  EXPECT_EQ(record.live_begin - base_, taken(2));
  EXPECT_EQ(record.peak_live - base_, taken(2) + taken(5));
  EXPECT_EQ(record.live_end - base_, taken(2) + taken(1));
  EXPECT_EQ(record.reserved_begin - reserved_, taken(2));
  EXPECT_EQ(record.peak_reserved - reserved_, taken(2) + taken(5));
  EXPECT_EQ(record.reserved_end - reserved_, taken(2) + taken(5)) << "what was freed is cached";
  EXPECT_LE(record.begin_seconds, record.end_seconds);
  EXPECT_TRUE(record.categories.empty());
  EXPECT_EQ(record.category_error, "");
}

TEST_F(Tracker, a_nested_phase_has_a_peak_of_its_own) {
  {
    const auto step = tracker_.track_memory("step");
    { const c10::DataPtr a = take(8 * kMiB); }
    {
      const auto forward = tracker_.track_memory("forward");
      const c10::DataPtr b = take(3 * kMiB);
    }
    {
      const auto backward = tracker_.track_memory("backward");
      const c10::DataPtr c = take(4 * kMiB), d = take(kMiB);
    }
  }
  const auto records = tracker_.records();
  ASSERT_EQ(records.size(), 3);
  EXPECT_EQ(records[0].phase, "forward");
  EXPECT_EQ(records[0].peak_live - base_, taken(3)) << "8 MiB were gone by then";
  EXPECT_EQ(records[1].phase, "backward");
  EXPECT_EQ(records[1].peak_live - base_, taken(4) + taken(1));
  EXPECT_EQ(records[2].phase, "step");
  EXPECT_EQ(records[2].peak_live - base_, taken(8));
}

TEST_F(Tracker, phases_that_overlap_without_nesting_are_each_exact) {
  std::optional<MemoryTracker::Phase> first(tracker_.track_memory("first"));
  { const c10::DataPtr a = take(2 * kMiB); }
  std::optional<MemoryTracker::Phase> second(tracker_.track_memory("second"));
  std::optional<MemoryTracker::Phase> third(tracker_.track_memory("third"));
  first.reset();
  { const c10::DataPtr b = take(6 * kMiB); }
  second.reset();
  { const c10::DataPtr c = take(7 * kMiB); }
  third.reset();
  const auto records = tracker_.records();
  EXPECT_EQ(records[0].peak_live - base_, taken(2));
  EXPECT_EQ(records[1].peak_live - base_, taken(6));
  EXPECT_EQ(records[2].peak_live - base_, taken(7));
}

TEST_F(Tracker, neither_disturbs_the_other_peaks_nor_is_disturbed_by_them) {
  memory::reset_peak();
  memory::reset_watermark();
  { const c10::DataPtr a = take(9 * kMiB); }
  memory::trim();
  {
    const auto phase = tracker_.track_memory("phase");
    { const c10::DataPtr b = take(5 * kMiB); }
    EXPECT_EQ(memory::usage().peak - base_, taken(9));
    EXPECT_EQ(memory::usage().peak_reserved - reserved_, taken(9));
    EXPECT_EQ(memory::watermark() - reserved_, taken(9)) << "a scope's peak";
    memory::trim();
    memory::reset_peak();
    memory::reset_watermark();
    { const c10::DataPtr c = take(kMiB); }
  }
  EXPECT_EQ(memory::usage().peak - base_, taken(1));
  EXPECT_EQ(memory::watermark() - reserved_, taken(1));
  EXPECT_EQ(tracker_.records()[0].peak_live - base_, taken(5));
  EXPECT_EQ(tracker_.records()[0].peak_reserved - reserved_, taken(5));
}

TEST_F(Tracker, sees_what_other_threads_hold_at_the_same_moment) {
  std::barrier both(2);
  std::optional<MemoryTracker::Phase> phase(tracker_.track_memory("two threads"));
  std::thread other([&] {
    const c10::DataPtr mine = take(3 * kMiB);
    both.arrive_and_wait();
    both.arrive_and_wait();
  });
  both.arrive_and_wait();
  { const c10::DataPtr mine = take(4 * kMiB); }
  both.arrive_and_wait();
  other.join();
  phase.reset();
  EXPECT_EQ(tracker_.records()[0].peak_live - base_, taken(3) + taken(4));
}

// The allocator raises the peaks of the process and of the phases under one lock. So they agree for
// any order of the threads.
TEST_F(Tracker, agrees_with_the_peaks_of_the_process_whatever_threads_do) {
  constexpr int kThreads = 4, kRounds = 20, kSteps = 500;
  for (int round = 0; round < kRounds; ++round) {
    memory::trim();
    memory::reset_peak();
    std::optional<MemoryTracker::Phase> all(tracker_.track_memory("all"));
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        std::uint64_t random =
            static_cast<std::uint64_t>(thread) + static_cast<std::uint64_t>(round) * kThreads + 1;
        std::array<c10::DataPtr, 8> shelf;
        for (int step = 0; step < kSteps; ++step) {
          random = random * 6364136223846793005ULL + 1442695040888963407ULL;
          const auto bytes = static_cast<std::int64_t>(1 + (random >> 40) % 100000);
          const auto inside = tracker_.track_memory("inside");
          shelf[(random >> 33) % shelf.size()] = take(bytes);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    all.reset();
    const MemoryTracker::Record record = tracker_.records().back();
    ASSERT_EQ(record.phase, "all");
    ASSERT_EQ(record.peak_live, memory::usage().peak);
    ASSERT_EQ(record.peak_reserved, memory::usage().peak_reserved);
  }
  std::int64_t largest = 0;
  for (const auto& record : tracker_.records()) {
    ASSERT_GE(record.peak_live, std::max(record.live_begin, record.live_end));
    ASSERT_GE(record.peak_reserved, std::max(record.reserved_begin, record.reserved_end));
    ASSERT_GE(record.peak_live, memory::footprint(1)) << "each took a block itself";
    if (record.phase == "inside") largest = std::max(largest, record.peak_live);
  }
  const auto statistics = tracker_.statistics();
  ASSERT_EQ(statistics.size(), 2);
  EXPECT_EQ(statistics[0].phase, "inside");
  EXPECT_EQ(statistics[0].count, kThreads * kRounds * kSteps);
  EXPECT_EQ(statistics[1].count, kRounds);
  EXPECT_EQ(static_cast<double>(largest), statistics[1].peak_live.max)
      << "no moment of the whole lay outside of all parts";
  const auto timeline = tracker_.timeline();
  ASSERT_EQ(timeline.size(), 2 * tracker_.records().size());
  for (std::size_t i = 1; i < timeline.size(); ++i) {
    ASSERT_LE(timeline[i - 1].seconds, timeline[i].seconds);
  }
}

TEST_F(Tracker, the_timeline_has_each_edge_with_its_bytes) {
  auto outer = tracker_.track_memory("outer");
  const c10::DataPtr a = take(kMiB);
  tracker_.track_memory("inner").end();
  const auto edges = tracker_.timeline();
  ASSERT_EQ(edges.size(), 3) << "the end of an open phase is not known";
  EXPECT_EQ(edges[0].phase, "outer");
  EXPECT_TRUE(edges[0].begins);
  EXPECT_EQ(edges[0].live, base_);
  EXPECT_EQ(edges[0].reserved, reserved_);
  EXPECT_EQ(edges[1].phase, "inner");
  EXPECT_TRUE(edges[1].begins);
  EXPECT_EQ(edges[2].phase, "inner");
  EXPECT_FALSE(edges[2].begins);
  EXPECT_EQ(edges[2].live - base_, taken(1));
  EXPECT_EQ(edges[2].reserved - reserved_, taken(1));
  outer.end();
  EXPECT_EQ(tracker_.timeline().size(), 4);
}

TEST_F(Tracker, a_phase_ends_once_also_by_an_exception_or_a_move) {
  try {
    const auto phase = tracker_.track_memory("thrown out");
    const c10::DataPtr a = take(kMiB);
    throw std::runtime_error("the step failed");
  } catch (const std::runtime_error&) {
  }
  {
    auto phase = tracker_.track_memory("ended twice");
    phase.end();
    phase.end();
  }
  {
    auto phase = tracker_.track_memory("moved");
    auto moved = std::move(phase);
  }
  ASSERT_EQ(tracker_.records().size(), 3);
  EXPECT_EQ(tracker_.records()[0].peak_live - base_, taken(1));
}

TEST(TrackerLife, a_phase_may_outlive_its_tracker) {
  std::optional<MemoryTracker> tracker(std::in_place);
  auto phase = tracker->track_memory("long");
  tracker.reset();
  const c10::DataPtr a = take(kMiB);
  phase.end();
  const c10::DataPtr b = take(kMiB);
  memory::validate();
}

// In Python: memory_allocated, memory_cached = tracker.track_memory('forward').
TEST_F(Tracker, gives_what_is_allocated_and_cached_when_a_phase_begins_as_a_pair) {
  const c10::DataPtr kept = take(3 * kMiB);
  { const c10::DataPtr freed = take(2 * kMiB); }
  {
    auto [allocated, cached] = tracker_.track_memory("pair");
    const c10::DataPtr more = take(kMiB);
    EXPECT_EQ(allocated - base_, taken(3));
    EXPECT_EQ(cached, memory::usage().reserved - memory::usage().live + taken(1));
  }
  const MemoryTracker::Record record = tracker_.records().at(0);
  EXPECT_EQ(record.peak_live - base_, taken(3) + taken(1))
      << "the phase lasts as long as the names";
  tracker_.track_memory("a moment");
  const MemoryTracker::Record moment = tracker_.records().at(1);
  EXPECT_EQ(moment.live_begin, moment.live_end);
  EXPECT_EQ(moment.peak_live - base_, taken(3));
  const auto phase = tracker_.track_memory("named");
  EXPECT_EQ(phase.allocated() - base_, taken(3));
  EXPECT_EQ(phase.cached(), memory::usage().cached);
}

TEST_F(Tracker, the_process_is_at_least_as_large_as_what_was_touched) {
  c10::DataPtr block = take(32 * kMiB);
  std::fill_n(static_cast<char*>(block.get()), 32 * kMiB, '\1');
  tracker_.track_memory("large").end();
  const memory::ProcessMemory process = tracker_.records()[0].process;
  EXPECT_GT(process.resident, 32 * kMiB);
  EXPECT_GE(process.peak_resident, process.resident);
  block.clear();
  memory::trim();
  const memory::ProcessMemory later = memory::process_memory();
  EXPECT_LT(later.resident, process.resident);
  // Linux counts pages in batches of a few hundred for each processor. So the peak may be below the
  // earlier figure, but not below the block.
  EXPECT_GT(later.peak_resident, 32 * kMiB);
}

TEST_F(Tracker, refuses_a_phase_without_a_name_and_a_process_without_its_allocator) {
  try {
    auto phase = tracker_.track_memory("");
    ADD_FAILURE();
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(error.what(), "track_memory: a phase without a name; name it");
  }
  EXPECT_EQ(kBeforeInstall,
            "neap::install() was not called, so nothing can be counted, checkpointed or held "
            "inside a budget; call it once, before the first tensor");
}

}  // namespace
}  // namespace neap::test
