// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The results of a MemoryTracker as text, CSV and JSON.
#include <neap/memory.h>
#include <neap/report.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <iostream>

namespace neap {
namespace {

using Json = nlohmann::ordered_json;

std::string bytes_text(double bytes) { return Bytes(static_cast<std::int64_t>(bytes)).text(); }

Json json_of(const MemoryTracker::Distribution& distribution) {
  return {{"mean", distribution.mean}, {"max", distribution.max}, {"p95", distribution.p95}};
}

Json json_of(const MemoryTracker::Record& record) {
  Json categories = Json::object();
  for (const auto& [name, bytes] : record.categories) categories[name] = bytes;
  Json json{{"phase", record.phase},
            {"begin_seconds", record.begin_seconds},
            {"end_seconds", record.end_seconds},
            {"live_begin", record.live_begin},
            {"live_end", record.live_end},
            {"peak_live", record.peak_live},
            {"reserved_begin", record.reserved_begin},
            {"reserved_end", record.reserved_end},
            {"peak_reserved", record.peak_reserved},
            {"resident", record.process.resident},
            {"peak_resident", record.process.peak_resident},
            {"categories", categories}};
  if (!record.category_error.empty()) json["category_error"] = record.category_error;
  return json;
}

Json json_of(const MemoryTracker::Statistics& statistics) {
  Json categories = Json::object();
  for (const auto& [name, distribution] : statistics.categories) {
    categories[name] = json_of(distribution);
  }
  return {{"phase", statistics.phase},
          {"count", statistics.count},
          {"live_end", json_of(statistics.live_end)},
          {"cached_end", json_of(statistics.cached_end)},
          {"reserved_end", json_of(statistics.reserved_end)},
          {"peak_live", json_of(statistics.peak_live)},
          {"peak_reserved", json_of(statistics.peak_reserved)},
          {"resident", json_of(statistics.resident)},
          {"seconds", json_of(statistics.seconds)},
          {"categories", categories}};
}

}  // namespace

std::string MemoryTracker::text() const {
  const std::vector<Statistics> all = statistics();
  report::Table phases({{"phase", report::Align::Left},
                        {"count"},
                        {"live, mean"},
                        {"live, max"},
                        {"cached, mean"},
                        {"cached, max"},
                        {"reserved, mean"},
                        {"reserved, max"}});
  report::Table peaks({{"phase", report::Align::Left},
                       {"peak live, mean"},
                       {"p95"},
                       {"max"},
                       {"peak reserved, max"},
                       {"process, max"},
                       {"ms, mean"},
                       {"p95"},
                       {"max"}});
  report::Table categories({{"phase", report::Align::Left},
                            {"category", report::Align::Left},
                            {"mean"},
                            {"p95"},
                            {"max"}});
  for (const Statistics& one : all) {
    phases.add_row({one.phase, std::to_string(one.count), bytes_text(one.live_end.mean),
                    bytes_text(one.live_end.max), bytes_text(one.cached_end.mean),
                    bytes_text(one.cached_end.max), bytes_text(one.reserved_end.mean),
                    bytes_text(one.reserved_end.max)});
    peaks.add_row({one.phase, bytes_text(one.peak_live.mean), bytes_text(one.peak_live.p95),
                   bytes_text(one.peak_live.max), bytes_text(one.peak_reserved.max),
                   bytes_text(one.resident.max), report::fixed(one.seconds.mean * 1e3, 2),
                   report::fixed(one.seconds.p95 * 1e3, 2),
                   report::fixed(one.seconds.max * 1e3, 2)});
    for (const auto& [name, bytes] : one.categories) {
      categories.add_row(
          {one.phase, name, bytes_text(bytes.mean), bytes_text(bytes.p95), bytes_text(bytes.max)});
    }
  }
  return "When a phase ends\n" + phases.text() + "\nWhile it goes on\n" + peaks.text() +
         (categories.rows() > 0 ? '\n' + categories.text() : "");
}

void MemoryTracker::log_statistics() const { std::cout << text() << std::flush; }

std::string MemoryTracker::csv() const {
  const std::vector<Record> all = records();
  std::vector<std::string> names;
  for (const Record& record : all) {
    for (const auto& category : record.categories) {
      if (std::ranges::find(names, category.first) == names.end()) names.push_back(category.first);
    }
  }
  std::vector<report::Column> columns;
  for (const char* name :
       {"phase", "begin_seconds", "end_seconds", "live_begin", "live_end", "peak_live",
        "reserved_begin", "reserved_end", "peak_reserved", "resident", "peak_resident"}) {
    columns.push_back({name});
  }
  for (const std::string& name : names) columns.push_back({name});
  report::Table table(std::move(columns));
  for (const Record& record : all) {
    std::vector<std::string> cells{record.phase, report::fixed(record.begin_seconds, 6),
                                   report::fixed(record.end_seconds, 6)};
    for (const std::int64_t bytes :
         {record.live_begin, record.live_end, record.peak_live, record.reserved_begin,
          record.reserved_end, record.peak_reserved, record.process.resident,
          record.process.peak_resident}) {
      cells.push_back(std::to_string(bytes));
    }
    for (const std::string& name : names) {
      const auto found =
          std::ranges::find(record.categories, name, [](const auto& c) { return c.first; });
      cells.push_back(found == record.categories.end() ? "" : std::to_string(found->second));
    }
    table.add_row(std::move(cells));
  }
  return table.csv();
}

std::string MemoryTracker::to_json() const {
  Json json{{"records", Json::array()}, {"timeline", Json::array()}, {"statistics", Json::array()}};
  for (const Record& record : records()) json["records"].push_back(json_of(record));
  for (const Edge& edge : timeline()) {
    json["timeline"].push_back({{"phase", edge.phase},
                                {"edge", edge.begins ? "begin" : "end"},
                                {"seconds", edge.seconds},
                                {"live", edge.live},
                                {"reserved", edge.reserved}});
  }
  for (const Statistics& one : statistics()) json["statistics"].push_back(json_of(one));
  // Names may be any bytes, but JSON is UTF-8.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace neap
