// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "memory/allocator.h"

#include <neap/memory.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <mutex>

namespace neap {
namespace {

using Clock = std::chrono::steady_clock;

MemoryTracker::Distribution distribution_of(std::vector<double> values) {
  std::ranges::sort(values);
  MemoryTracker::Distribution result;
  if (values.empty()) return result;
  for (const double value : values) result.mean += value;
  const auto count = static_cast<double>(values.size());
  result.mean /= count;
  result.max = values.back();
  result.p95 = values[static_cast<std::size_t>(std::ceil(0.95 * count)) - 1];
  return result;
}

}  // namespace

struct MemoryTracker::State {
  const Clock::time_point birth = Clock::now();
  mutable std::mutex lock;
  std::function<Categories()> categories;
  std::vector<Record> records;
  std::vector<Edge> edges;

  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(Clock::now() - birth).count();
  }
};

struct MemoryTracker::Phase::Open {
  std::shared_ptr<State> state;
  memory::PeakGauge gauge;
  Record record;
};

MemoryTracker::Phase::Phase(std::unique_ptr<Open> open) : open_(std::move(open)) {}
MemoryTracker::Phase::Phase(Phase&& other) noexcept = default;
MemoryTracker::Phase::~Phase() { end(); }

void MemoryTracker::Phase::end() noexcept {
  if (!open_) return;
  const std::unique_ptr<Open> open = std::move(open_);
  State& state = *open->state;
  Record& record = open->record;
  // First of all: later allocations would be counted.
  const memory::Usage now = memory::close_gauge(open->gauge);
  record.live_end = now.live;
  record.reserved_end = now.reserved;
  record.peak_live = open->gauge.live;
  record.peak_reserved = open->gauge.reserved;
  record.end_seconds = state.seconds();
  record.process = memory::process_memory();

  std::function<Categories()> categories;
  {
    const std::lock_guard guard(state.lock);
    categories = state.categories;
  }
  // Without the lock, because the callback may use the tracker.
  if (categories) {
    try {
      record.categories = categories();
    } catch (const std::exception& error) {
      record.category_error = error.what();
    } catch (...) {
      record.category_error = "something that is no std::exception";
    }
  }
  const std::lock_guard guard(state.lock);
  // Phases of other threads may have ended since the clock was read.
  const Edge edge{record.phase, false, record.end_seconds, now.live, now.reserved};
  state.edges.insert(std::ranges::upper_bound(state.edges, edge.seconds, {}, &Edge::seconds), edge);
  state.records.push_back(std::move(record));
}

MemoryTracker::MemoryTracker() : state_(std::make_shared<State>()) {}
MemoryTracker::~MemoryTracker() = default;

MemoryTracker::Phase MemoryTracker::track_memory(std::string phase) {
  if (phase.empty()) throw InvalidArgument("track_memory: a phase without a name; name it");
  memory::require_installed();
  auto open = std::make_unique<Phase::Open>();
  open->state = state_;
  open->record.phase = std::move(phase);
  Record& record = open->record;
  const std::lock_guard guard(state_->lock);
  record.begin_seconds = state_->seconds();
  state_->edges.push_back({record.phase, true, record.begin_seconds, 0, 0});
  Phase result(std::move(open));
  const memory::Usage now = memory::open_gauge(result.open_->gauge);
  record.live_begin = state_->edges.back().live = now.live;
  record.reserved_begin = state_->edges.back().reserved = now.reserved;
  result.allocated_ = now.live;
  result.cached_ = now.cached;
  return result;
}

void MemoryTracker::set_categories(std::function<Categories()> callback) {
  const std::lock_guard guard(state_->lock);
  state_->categories = std::move(callback);
}

std::vector<MemoryTracker::Record> MemoryTracker::records() const {
  const std::lock_guard guard(state_->lock);
  return state_->records;
}

std::vector<MemoryTracker::Edge> MemoryTracker::timeline() const {
  const std::lock_guard guard(state_->lock);
  return state_->edges;
}

std::vector<MemoryTracker::Statistics> MemoryTracker::statistics() const {
  const std::vector<Record> all = records();
  std::vector<Statistics> result;
  for (const Record& first : all) {
    const auto same = [&](const auto& other) { return other.phase == first.phase; };
    if (std::ranges::any_of(result, same)) continue;
    std::vector<Record> of_phase;
    std::ranges::copy_if(all, std::back_inserter(of_phase), same);
    const auto over = [&](auto&& value) {
      std::vector<double> values;
      values.reserve(of_phase.size());
      for (const Record& record : of_phase) values.push_back(static_cast<double>(value(record)));
      return distribution_of(std::move(values));
    };
    Statistics statistics;
    statistics.phase = first.phase;
    statistics.count = static_cast<std::int64_t>(of_phase.size());
    statistics.live_end = over([](const Record& r) { return r.live_end; });
    statistics.cached_end = over([](const Record& r) { return r.reserved_end - r.live_end; });
    statistics.reserved_end = over([](const Record& r) { return r.reserved_end; });
    statistics.peak_live = over([](const Record& r) { return r.peak_live; });
    statistics.peak_reserved = over([](const Record& r) { return r.peak_reserved; });
    statistics.resident = over([](const Record& r) { return r.process.resident; });
    statistics.seconds = over([](const Record& r) { return r.end_seconds - r.begin_seconds; });
    std::vector<std::pair<std::string, std::vector<double>>> categories;
    for (const Record& record : of_phase) {
      for (const auto& [name, bytes] : record.categories) {
        auto known = std::ranges::find(categories, name, [](const auto& c) { return c.first; });
        if (known == categories.end()) known = categories.insert(known, {name, {}});
        known->second.push_back(static_cast<double>(bytes));
      }
    }
    for (auto& [name, values] : categories) {
      statistics.categories.emplace_back(name, distribution_of(std::move(values)));
    }
    result.push_back(std::move(statistics));
  }
  return result;
}

}  // namespace neap
