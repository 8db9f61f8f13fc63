// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A tracker that samples misses the peak between two samples, and one that shares a peak with
// others resets theirs. So what is proved is exactness: to the byte, nested, overlapping, and with
// threads that allocate meanwhile.
#include "memory/allocator.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <barrier>
#include <optional>
#include <stdexcept>
#include <thread>

namespace {

using namespace neap;

c10::DataPtr take(std::int64_t bytes) {
  return memory::allocator().allocate(static_cast<std::size_t>(bytes));
}

constexpr std::int64_t kMiB = 1 << 20;
std::int64_t taken(std::int64_t mib) { return memory::footprint(mib * kMiB); }

// Before main() has called install().
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

class Tracker : public testing::Test {
 protected:
  void SetUp() override {
    memory::trim();
    base_ = memory::usage().live;
    reserved_ = memory::usage().reserved;
  }
  MemoryTracker tracker_;
  std::int64_t base_ = 0;
  std::int64_t reserved_ = 0;
};

// The short version returned 0 on a machine without a GPU.
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

// The process-wide peaks are raised under the same lock: whatever the threads did, the two must
// agree.
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

TEST_F(Tracker, statistics_are_count_mean_largest_and_nearest_rank_p95_of_each_name) {
  for (int i = 1; i <= 20; ++i) {
    const auto phase = tracker_.track_memory("step");
    const c10::DataPtr a = take(i * kMiB);
  }
  tracker_.track_memory("other").end();
  const auto statistics = tracker_.statistics();
  ASSERT_EQ(statistics.size(), 2);
  const MemoryTracker::Statistics& step = statistics[0];
  EXPECT_EQ(step.phase, "step");
  EXPECT_EQ(step.count, 20);
  const auto base = static_cast<double>(base_);
  EXPECT_EQ(step.peak_live.max - base, taken(20));
  EXPECT_EQ(step.peak_live.p95 - base, taken(19)) << "19 of 20 are 95 %";
  double sum = 0;
  for (int i = 1; i <= 20; ++i) sum += static_cast<double>(base_ + taken(i));
  EXPECT_EQ(step.peak_live.mean, sum / 20);
  EXPECT_EQ(step.live_end.mean, base);
  EXPECT_EQ(step.live_end.max, base);
  EXPECT_EQ(step.reserved_end.max, step.live_end.max + step.cached_end.max) << "live is the same";
  EXPECT_EQ(step.reserved_end.max - static_cast<double>(reserved_), taken(20)) << "kept for reuse";
  EXPECT_EQ(step.peak_reserved.max - static_cast<double>(reserved_), taken(20));
  EXPECT_EQ(statistics[1].phase, "other");
  EXPECT_EQ(statistics[1].count, 1);
  EXPECT_EQ(statistics[1].peak_live.p95, base);
}

// On slides: memory_allocated, memory_cached = tracker.track_memory('forward').
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

TEST_F(Tracker, categories_are_asked_for_when_a_phase_ends) {
  int calls = 0;
  tracker_.set_categories([&]() -> MemoryTracker::Categories {
    ++calls;
    (void)tracker_.records();  // it may ask the tracker
    const c10::DataPtr own = take(64 * kMiB);
    return {{"parameters", 100}, {"gradients", 10 * calls}};
  });
  for (int i = 0; i < 2; ++i) {
    auto phase = tracker_.track_memory("step");
    EXPECT_EQ(calls, i);
  }
  EXPECT_EQ(calls, 2);
  const auto record = tracker_.records()[1];
  EXPECT_EQ(record.categories, (MemoryTracker::Categories{{"parameters", 100}, {"gradients", 20}}));
  EXPECT_EQ(record.peak_live, base_) << "what the callback takes is not the phase's";
  const auto statistics = tracker_.statistics()[0];
  ASSERT_EQ(statistics.categories.size(), 2);
  EXPECT_EQ(statistics.categories[1].first, "gradients");
  EXPECT_EQ(statistics.categories[1].second.mean, 15);
  EXPECT_EQ(statistics.categories[1].second.max, 20);
}

TEST_F(Tracker, what_the_categories_throw_is_kept_with_the_record) {
  tracker_.set_categories(
      []() -> MemoryTracker::Categories { throw std::runtime_error("no model"); });
  { const auto phase = tracker_.track_memory("a"); }
  tracker_.set_categories([]() -> MemoryTracker::Categories { throw 7; });
  { const auto phase = tracker_.track_memory("b"); }
  tracker_.set_categories({});
  { const auto phase = tracker_.track_memory("c"); }
  const auto records = tracker_.records();
  EXPECT_EQ(records[0].category_error, "no model");
  EXPECT_EQ(records[1].category_error, "something that is no std::exception");
  EXPECT_EQ(records[2].category_error, "");
  EXPECT_NE(tracker_.to_json().find("\"category_error\": \"no model\""), std::string::npos);
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
  // Linux counts pages in batches, a few hundred a processor: no more is certain of the peak.
  EXPECT_GT(later.peak_resident, 32 * kMiB);
}

TEST_F(Tracker, csv_has_a_line_for_each_record_and_a_column_for_each_category) {
  tracker_.set_categories([] { return MemoryTracker::Categories{{"a, b", 7}}; });
  tracker_.track_memory("say \"x\"").end();
  tracker_.set_categories([] { return MemoryTracker::Categories{{"c", 8}}; });
  tracker_.track_memory("y").end();
  const std::string csv = tracker_.csv();
  EXPECT_TRUE(csv.starts_with(
      "phase,begin_seconds,end_seconds,live_begin,live_end,peak_live,reserved_begin,reserved_end,"
      "peak_reserved,resident,peak_resident,\"a, b\",c\r\n\"say \"\"x\"\"\","))
      << csv;
  EXPECT_NE(csv.find(",7,\r\ny,"), std::string::npos) << csv;
  EXPECT_TRUE(csv.ends_with(",,8\r\n")) << csv;
}

TEST_F(Tracker, json_holds_the_same_figures) {
  tracker_.set_categories([] { return MemoryTracker::Categories{{"parameters", 42}}; });
  {
    const auto phase = tracker_.track_memory("not UTF-8: \xFF");
    const c10::DataPtr a = take(kMiB);
  }
  const auto json = nlohmann::json::parse(tracker_.to_json());
  ASSERT_EQ(json["records"].size(), 1);
  EXPECT_EQ(json["records"][0]["phase"], "not UTF-8: \xEF\xBF\xBD");
  EXPECT_EQ(json["records"][0]["peak_live"].get<std::int64_t>() - base_, taken(1));
  EXPECT_EQ(json["records"][0]["categories"]["parameters"], 42);
  EXPECT_EQ(json["timeline"].size(), 2);
  EXPECT_EQ(json["timeline"][0]["edge"], "begin");
  EXPECT_EQ(json["timeline"][1]["edge"], "end");
  EXPECT_EQ(json["statistics"][0]["count"], 1);
  EXPECT_EQ(json["statistics"][0]["peak_live"]["max"].get<double>() - static_cast<double>(base_),
            taken(1));
  EXPECT_EQ(json["statistics"][0]["categories"]["parameters"]["p95"], 42.0);
}

TEST_F(Tracker, prints_a_table_by_phase_and_one_by_category) {
  tracker_.track_memory("forward").end();
  EXPECT_EQ(tracker_.text().find("category"), std::string::npos);
  tracker_.set_categories([] { return MemoryTracker::Categories{{"parameters", 2 * kMiB}}; });
  tracker_.track_memory("forward").end();
  testing::internal::CaptureStdout();
  tracker_.log_statistics();
  const std::string printed = testing::internal::GetCapturedStdout();
  EXPECT_EQ(printed, tracker_.text());
  EXPECT_TRUE(
      printed.starts_with("When a phase ends\n"
                          "phase    count  live, mean  live, max  cached, mean  cached, max  "
                          "reserved, mean  reserved, max\n"))
      << printed;
  EXPECT_NE(printed.find("\nforward      2"), std::string::npos) << printed;
  EXPECT_NE(printed.find("\nWhile it goes on\nphase    peak live, mean  "), std::string::npos)
      << printed;
  EXPECT_NE(printed.find("\nforward  parameters  2.0 MiB  2.0 MiB  2.0 MiB\n"), std::string::npos)
      << printed;
}

TEST_F(Tracker, an_empty_tracker_has_empty_tables) {
  EXPECT_TRUE(tracker_.statistics().empty());
  EXPECT_TRUE(tracker_.timeline().empty());
  EXPECT_EQ(nlohmann::json::parse(tracker_.to_json())["records"].size(), 0);
  EXPECT_TRUE(tracker_.csv().ends_with("peak_resident\r\n"));
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
