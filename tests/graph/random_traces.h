// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Random traces with everything that the format allows. Equal seeds give equal results with every
// standard library.
//
//   std::mt19937_64 engine(seed);
//   const Trace trace = random_trace(engine, {.operators = 20});
#pragma once

#include <neap/graph.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace neap::graph {

// Shares are in percent.
struct TraceOptions {
  std::int64_t operators = 10;
  std::int64_t head_givens = 3;
  std::int64_t late_given = 15;       // of the places between two operators and after the last
  std::int64_t mutates_made = 25;     // of the operators
  std::int64_t mutates_given = 6;     // of the operators
  std::int64_t mutates_once = 10;     // of the operators
  std::int64_t not_replayable = 6;    // of the operators
  std::int64_t makes_nothing = 8;     // of the operators
  std::int64_t several_outputs = 30;  // of the operators that make something
  std::int64_t workspace = 40;        // of the operators
  std::int64_t zero_bytes = 8;        // of the storages
  std::int64_t released = 70;         // of the storages; most of them right after their last use
  std::int64_t kept = 30;             // of the storages that are not released
  std::int64_t kept_released = 2;     // of the released ones
  std::int64_t largest = 100;         // bytes
};

inline std::int64_t below(std::mt19937_64& engine, std::int64_t end) {
  return end <= 0 ? 0 : static_cast<std::int64_t>(engine() % static_cast<std::uint64_t>(end));
}
inline bool chance(std::mt19937_64& engine, std::int64_t percent) {
  return below(engine, 100) < percent;
}
template <class T>
const T& any_of(std::mt19937_64& engine, const std::vector<T>& list) {
  return list.at(static_cast<std::size_t>(below(engine, static_cast<std::int64_t>(list.size()))));
}

// See random_trace().
class TraceWriter {
 public:
  TraceWriter(std::mt19937_64& engine, const TraceOptions& options)
      : engine_(engine), options_(options), places_(index(options.operators + 1)) {}

  Trace write() {
    for (std::int64_t i = 0; i < options_.head_givens; ++i) give(0);
    std::vector<Operator> operators;
    for (std::int64_t i = 0; i < options_.operators; ++i) {
      operators.push_back(next_operator(i));
      if (chance(engine_, options_.late_given)) give(i + 1);
      if (chance(engine_, options_.late_given / 4)) give(i + 1);
    }
    Trace trace;
    release_and_keep(trace);
    for (std::int64_t i = 0; i <= options_.operators; ++i) {
      std::vector<Event>& place = places_.at(index(i));
      mix(place);
      trace.events.insert(trace.events.end(), place.begin(), place.end());
      if (i < options_.operators) trace.events.emplace_back(std::move(operators.at(index(i))));
    }
    trace.label = "random";
    return trace;
  }

 private:
  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

  StorageId new_storage(std::int64_t after) {
    // Most ids are small and close together, with gaps, in no order. A few are far away.
    StorageId storage = 0;
    do {
      storage =
          below(engine_, chance(engine_, 4) ? std::int64_t{1} << 40 : 3 * options_.operators + 9);
    } while (!last_use_.emplace(storage, after).second);
    order_.push_back(storage);
    return storage;
  }

  std::int64_t new_bytes() {
    return chance(engine_, options_.zero_bytes) ? 0 : 1 + below(engine_, options_.largest);
  }

  void give(std::int64_t place) {
    const StorageId storage = new_storage(place);
    given_.push_back(storage);
    const auto kind = static_cast<StorageKind>(below(engine_, 6));
    places_.at(index(place)).emplace_back(Given{storage, new_bytes(), kind});
  }

  // Prefers a young storage to an old one.
  StorageId pick() {
    const auto count = static_cast<std::int64_t>(order_.size());
    const std::int64_t age = std::min(below(engine_, count), below(engine_, count));
    return order_.at(index(count - 1 - age));
  }

  // The second half reads what the first half made, from its end to its beginning, as a backward
  // does.
  void read_as_a_backward(Operator& op, std::int64_t i) {
    const std::int64_t mirrored = options_.operators - 1 - i;
    if (mirrored >= i || !chance(engine_, 70)) return;
    const auto made = made_by_.find(mirrored);
    if (made != made_by_.end()) op.reads.push_back(made->second);
  }

  Operator next_operator(std::int64_t i) {
    Operator op{.name = "op" + std::to_string(i)};
    op.phase = 2 * i < options_.operators ? Phase::Forward : Phase::Backward;
    op.ns = below(engine_, 50);
    op.workspace = chance(engine_, options_.workspace) ? below(engine_, options_.largest) : 0;
    op.replayable = !chance(engine_, options_.not_replayable);
    std::set<StorageId> given(given_.begin(), given_.end());
    const bool some = !order_.empty();
    if (some) {
      read_as_a_backward(op, i);
      for (std::int64_t n = below(engine_, 4); n > 0; --n) op.reads.push_back(pick());
      if (chance(engine_, options_.mutates_made)) {
        for (std::int64_t n = 1 + below(engine_, 2); n > 0; --n) {
          const bool again = !written_.empty() && chance(engine_, 50);  // chains of several
          const StorageId storage = again ? any_of(engine_, written_) : pick();
          if (given.contains(storage)) continue;
          write(op.mutates, op, storage);
          written_.push_back(storage);
        }
      }
    }
    if (!given_.empty()) {
      if (chance(engine_, options_.mutates_given)) write(op.mutates, op, any_of(engine_, given_));
      if (chance(engine_, options_.mutates_once)) {
        for (std::int64_t n = 1 + below(engine_, 2); n > 0; --n) {
          const StorageId storage = any_of(engine_, given_);
          if (std::ranges::count(op.mutates, storage) == 0) write(op.mutates_once, op, storage);
        }
      }
    }
    for (std::vector<StorageId>* list : {&op.reads, &op.mutates, &op.mutates_once}) {
      std::ranges::sort(*list);
      list->erase(std::unique(list->begin(), list->end()), list->end());
      for (const StorageId storage : *list) last_use_.at(storage) = i + 1;
    }
    if (chance(engine_, options_.makes_nothing)) return op;
    std::int64_t outputs = chance(engine_, options_.several_outputs) ? 2 + below(engine_, 2) : 1;
    for (; outputs > 0; --outputs) op.makes.push_back({new_storage(i + 1), new_bytes()});
    made_by_[i] = op.makes.front().storage;
    return op;
  }

  void write(std::vector<StorageId>& list, Operator& op, StorageId storage) {
    list.push_back(storage);
    if (chance(engine_, 70)) op.reads.push_back(storage);
  }

  void release_and_keep(Trace& trace) {
    for (const StorageId storage : order_) {
      if (!chance(engine_, options_.released)) {
        if (chance(engine_, options_.kept)) trace.keep.push_back(storage);
        continue;
      }
      std::int64_t place = last_use_.at(storage);
      if (chance(engine_, 15)) place += below(engine_, options_.operators + 1 - place);
      places_.at(index(place)).emplace_back(Release{storage});
      if (chance(engine_, options_.kept_released)) trace.keep.push_back(storage);
    }
  }

  // Any order in which no storage is released before it exists.
  void mix(std::vector<Event>& place) {
    for (std::size_t i = place.size(); i > 1; --i) {
      std::swap(place[i - 1], place[index(below(engine_, static_cast<std::int64_t>(i)))]);
    }
    for (std::size_t i = 0; i < place.size(); ++i) {
      const auto* const release = std::get_if<Release>(&place[i]);
      if (release == nullptr) continue;
      const StorageId storage = release->storage;
      for (std::size_t j = i + 1; j < place.size(); ++j) {
        const auto* const given = std::get_if<Given>(&place[j]);
        if (given == nullptr || given->storage != storage) continue;
        std::swap(place[i], place[j]);
        break;
      }
    }
  }

  std::mt19937_64& engine_;
  TraceOptions options_;
  std::vector<std::vector<Event>> places_;  // before operator i; the last: after them all
  std::vector<StorageId> order_;            // as they were defined
  std::vector<StorageId> given_;
  std::vector<StorageId> written_;              // made ones, written in place
  std::map<StorageId, std::int64_t> last_use_;  // the place after it
  std::map<std::int64_t, StorageId> made_by_;   // the first output
};

// A valid trace.
inline Trace random_trace(std::mt19937_64& engine, const TraceOptions& options = {}) {
  return TraceWriter(engine, options).write();
}

}  // namespace neap::graph
