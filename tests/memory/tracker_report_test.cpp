// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// What a tracker reports of its phases: statistics, categories of a callback, CSV, JSON and tables.
#include "memory/blocks.h"
#include "memory/tracked_phases.h"

#include <neap/memory.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace neap::test {
namespace {

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

TEST_F(Tracker, categories_are_asked_for_when_a_phase_ends) {
  int calls = 0;
  tracker_.set_categories([&]() -> MemoryTracker::Categories {
    ++calls;
    (void)tracker_.records();  // a callback may use the tracker
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

}  // namespace
}  // namespace neap::test
