// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/held.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace neap::planner {
namespace {

using graph::StorageId;

// When a storage can no longer be made again, because something that it is made from, directly or
// not, has been overwritten: an optimizer overwrites the parameters while the program holds the
// loss. The engine brings such a storage back before, and holds it from then on. So it is needed
// there, and as long as the program holds it.
class LastChances {
 public:
  explicit LastChances(const graph::Trace& trace) {
    for (const graph::Event& event : trace.events) {
      if (const auto* const given = std::get_if<graph::Given>(&event)) {
        is_given_.insert(given->storage);
      } else if (const auto* const op = std::get_if<graph::Operator>(&event)) {
        meet(*op);
      } else {
        released_[std::get<graph::Release>(event).storage] = operators_ - 1;
      }
    }
    Number number = 0;
    for (const graph::Event& event : trace.events) {
      if (const auto* const op = std::get_if<graph::Operator>(&event)) visit(*op, number++);
    }
    needed_.resize(static_cast<std::size_t>(operators_));
    for (const auto& [storage, last] : last_) need(storage, last);
  }

  // What operator number `at` needs beside what it reads.
  [[nodiscard]] const std::vector<StorageId>& needed(std::size_t at) const { return needed_[at]; }

 private:
  using Number = std::int64_t;  // of an operator
  static constexpr Number kNever = std::numeric_limits<Number>::max();

  // The first operator after `number` before which what is made from the content by `number` must
  // be there. A storage that is held by then is as one that nothing makes again.
  [[nodiscard]] Number last_chance(StorageId storage, Number number) const {
    if (!is_given_.contains(storage)) {
      const auto found = last_.find(storage);
      if (found == last_.end()) return kNever;
      if (found->second > number) return found->second;
    }
    const auto writes = overwrites_.find(storage);
    if (writes == overwrites_.end()) return kNever;
    const auto next = std::ranges::upper_bound(writes->second, number);
    return next == writes->second.end() ? kNever : *next;
  }

  void meet(const graph::Operator& op) {
    const auto is_given = [&](StorageId id) { return is_given_.contains(id); };
    replayable_.push_back(op.replayable && std::ranges::none_of(op.mutates, is_given));
    for (const StorageId id : op.mutates) overwrites_[id].push_back(operators_);
    if (!op.replayable) {
      for (const graph::Made& made : op.makes) is_given_.insert(made.storage);
    }
    ++operators_;
  }

  void visit(const graph::Operator& op, Number number) {
    if (!replayable_[static_cast<std::size_t>(number)]) return;
    Number last = kNever;
    for (const StorageId id : op.reads) last = std::min(last, last_chance(id, number));
    if (last == kNever) return;
    for (const graph::Made& made : op.makes) last_[made.storage] = last;
    for (const StorageId id : op.mutates) {
      Number& its = last_.try_emplace(id, last).first->second;
      its = std::min(its, last);
    }
  }

  // An operator that may run again would need it each time. So the hold ends with the last one that
  // may not.
  void need(StorageId storage, Number from) {
    const auto found = released_.find(storage);
    Number to = found == released_.end() ? operators_ - 1 : found->second;
    if (to < from) return;
    needed_[static_cast<std::size_t>(from)].push_back(storage);
    while (to > from && replayable_[static_cast<std::size_t>(to)]) --to;
    if (to > from) needed_[static_cast<std::size_t>(to)].push_back(storage);
  }

  Number operators_ = 0;
  std::vector<bool> replayable_;
  std::unordered_map<StorageId, std::vector<Number>> overwrites_;
  std::unordered_map<StorageId, Number> released_;  // after this operator
  std::unordered_set<StorageId> is_given_;          // nothing makes it again
  std::unordered_map<StorageId, Number> last_;      // of storages that operators make
  std::vector<std::vector<StorageId>> needed_;
};

}  // namespace

graph::Trace with_what_is_held(const graph::Trace& trace) {
  const LastChances chances(trace);
  graph::Trace held;
  held.keep = trace.keep;
  held.out_bytes_per_s = trace.out_bytes_per_s;
  held.in_bytes_per_s = trace.in_bytes_per_s;
  held.events.reserve(trace.events.size());
  std::size_t number = 0;
  for (const graph::Event& event : trace.events) {
    held.events.push_back(event);
    auto* const op = std::get_if<graph::Operator>(&held.events.back());
    if (op == nullptr) continue;
    const std::vector<StorageId>& needed = chances.needed(number++);
    op->reads.insert(op->reads.end(), needed.begin(), needed.end());
    if (op->replayable) continue;
    const std::vector<graph::Made> makes = std::exchange(op->makes, {});
    for (const graph::Made& made : makes) op->workspace += made.bytes;
    for (const graph::Made& made : makes) {
      held.events.emplace_back(
          graph::Given{made.storage, made.bytes, graph::StorageKind::Constant});
    }
  }
  return held;
}

}  // namespace neap::planner
