// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/recording.h"

#include <torch/version.h>

#include <algorithm>
#include <utility>
#include <variant>

namespace neap::autoplan {
namespace {

bool same_but_for_measures(graph::Operator a, const graph::Operator& b) {
  a.ns = b.ns;
  a.workspace = b.workspace;
  a.replayable = b.replayable;
  return a == b;
}

}  // namespace

std::string first_difference(const Recording& a, const Recording& b) {
  const auto [in_a, in_b] = std::ranges::mismatch(a.operators, b.operators, same_but_for_measures);
  const std::int64_t number = in_a - a.operators.begin();
  const std::string at = "operator " + std::to_string(number);
  const bool a_ends = in_a == a.operators.end(), b_ends = in_b == b.operators.end();
  if (a_ends != b_ends) {
    return "it has " + std::to_string(b.operators.size()) + " operators and had " +
           std::to_string(a.operators.size()) + "; " + at + ", " +
           (a_ends ? in_b->name : in_a->name) + ", is in one of them only";
  }
  if (!a_ends && in_a->name != in_b->name) {
    return at + " is " + in_b->name + " and was " + in_a->name;
  }
  // Equal operators use storages with equal ids. Their kinds, sizes and times of release can still
  // differ.
  std::int64_t first = number;
  const auto arrivals = std::ranges::mismatch(
      a.arrivals, b.arrivals,
      [](const auto& x, const auto& y) { return x.given == y.given && x.met == y.met; });
  // If only one has a further arrival, the operator that uses it differs too and was found above.
  if (arrivals.in1 != a.arrivals.end() && arrivals.in2 != b.arrivals.end()) {
    first = std::min(first, arrivals.in1->met);
  }
  const auto releases = std::ranges::mismatch(a.releases, b.releases);
  if (releases.in1 != a.releases.end()) first = std::min(first, releases.in1->position - 1);
  if (releases.in2 != b.releases.end()) first = std::min(first, releases.in2->position - 1);
  if (first == static_cast<std::int64_t>(a.operators.size())) return "";
  return "operator " + std::to_string(first) + ", " +
         a.operators[static_cast<std::size_t>(first)].name +
         ", uses, makes or leaves other storages, or of other sizes";
}

Recording merge(std::vector<Recording> steps) {
  Recording merged = std::move(steps.back());
  steps.pop_back();
  std::vector<std::int64_t> ns;
  for (std::size_t i = 0; i < merged.operators.size(); ++i) {
    graph::Operator& op = merged.operators[i];
    ns = {op.ns};
    for (const Recording& step : steps) {
      const graph::Operator& other = step.operators[i];
      ns.push_back(other.ns);
      op.workspace = std::max(op.workspace, other.workspace);
      op.replayable = op.replayable && other.replayable;
    }
    std::ranges::sort(ns);
    op.ns = (ns[(ns.size() - 1) / 2] + ns[ns.size() / 2]) / 2;
  }
  for (const Recording& step : steps) {
    for (std::size_t i = 0; i < merged.arrivals.size(); ++i) {
      std::int64_t& position = merged.arrivals[i].position;
      position = std::min(position, step.arrivals[i].position);
    }
    for (std::size_t i = 0; i < merged.untouched.size(); ++i) {
      merged.untouched[i] = std::max(merged.untouched[i], step.untouched[i]);
    }
    for (std::size_t i = 0; i < merged.reserved.size(); ++i) {
      merged.reserved[i] = std::max(merged.reserved[i], step.reserved[i]);
    }
  }
  return merged;
}

namespace {

class Assembly {
 public:
  Assembly(const Recording& recording, const std::string& label)
      : recording_(recording),
        arriving_(recording.operators.size() + 1),
        leaving_(recording.operators.size() + 1) {
    trace_.label = label;
    trace_.torch = TORCH_VERSION;
    trace_.keep = recording.keep;
    if (!recording.reserved.empty()) trace_.reserved = recording.reserved.front();
  }

  graph::Trace make() {
    for (const Recording::Arrival& one : recording_.arrivals) arrive(one.given, one.position);
    for (const Recording::Release& one : recording_.releases) leave(one.storage, one.position);
    add_untouched();
    for (std::size_t i = 0;; ++i) {
      for (const graph::Given& given : arriving_[i]) trace_.events.emplace_back(given);
      for (const graph::StorageId id : leaving_[i]) trace_.events.emplace_back(graph::Release{id});
      if (i == recording_.operators.size()) break;
      trace_.events.emplace_back(recording_.operators[i]);
      auto& op = std::get<graph::Operator>(trace_.events.back());
      if (!recording_.reserved.empty()) op.reserved = recording_.reserved[i + 1];
      if (!recording_.calls.empty()) op.call = recording_.calls[i];
    }
    return std::move(trace_);
  }

 private:
  struct Piece {
    std::int64_t bytes;
    std::int64_t position;
  };

  // See Note [Untouched bytes].
  void add_untouched() {
    std::vector<Piece> pieces;
    const std::vector<std::int64_t>& untouched = recording_.untouched;
    if (untouched[0] > 0) pieces.push_back({untouched[0], 0});
    for (std::size_t i = 1; i < untouched.size(); ++i) {
      const auto at = static_cast<std::int64_t>(i) - 1;
      if (untouched[i] > untouched[i - 1]) pieces.push_back({untouched[i] - untouched[i - 1], at});
      for (std::int64_t gone = untouched[i - 1] - untouched[i]; gone > 0;) {
        Piece& newest = pieces.back();
        const std::int64_t bytes = std::min(gone, newest.bytes);
        leave(define({bytes, newest.position}), at);
        gone -= bytes;
        newest.bytes -= bytes;
        if (newest.bytes == 0) pieces.pop_back();
      }
    }
    for (const Piece& piece : pieces) trace_.keep.push_back(define(piece));
  }

  graph::StorageId define(const Piece& piece) {
    const graph::StorageId id = next_++;
    arrive({id, piece.bytes, graph::StorageKind::Constant}, piece.position);
    return id;
  }
  void arrive(const graph::Given& given, std::int64_t position) {
    arriving_[static_cast<std::size_t>(position)].push_back(given);
  }
  void leave(graph::StorageId id, std::int64_t position) {
    leaving_[static_cast<std::size_t>(position)].push_back(id);
  }

  const Recording& recording_;
  graph::Trace trace_;
  graph::StorageId next_ = recording_.next;
  std::vector<std::vector<graph::Given>> arriving_;
  std::vector<std::vector<graph::StorageId>> leaving_;
};

}  // namespace

graph::Trace make_trace(const Recording& recording, const std::string& label) {
  return Assembly(recording, label).make();
}

}  // namespace neap::autoplan
