// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// tests/graph/naive_simulator.h: peak and time of a plan by the naive rules, written from the page
// on the file formats alone.
#pragma once

#include "graph/naive_rules.h"

#include <neap/graph.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace neap::graph {

// The result of a plan, or the line of the first rule that it breaks. In that case the figures mean
// nothing.
struct NaiveOutcome {
  std::int64_t peak = 0;
  std::vector<std::int64_t> peaks = {};  // of each step
  std::int64_t ns = 0;
  std::int64_t waited_ns = 0;
  std::int64_t reruns = 0;
  std::int64_t offloaded_peak = 0;
  std::optional<std::int64_t> broken_line = std::nullopt;
  std::string reason = {};
};

// The time of a plan, by the section on copies of the page. Nothing is carried along but when each
// step and each copy has ended. REQUIRES: a plan that breaks no rule.
class NaiveClock {
 public:
  NaiveClock(const Trace& trace, const NaiveRules& rules) : trace_(trace), rules_(rules) {}

  void take(const Step& step) {
    if (step.action == Step::Action::Offload) {
      const std::int64_t begin =
          std::max({now_, last_of(ends_out_), last_of(arrivals_[step.target])});
      ends_out_.push_back(begin + lasts(step.target, trace_.out_bytes_per_s));
      departures_[step.target].push_back(ends_out_.back());
    } else if (step.action == Step::Action::Load) {
      const std::int64_t begin =
          std::max({now_, last_of(ends_in_), last_of(departures_[step.target])});
      ends_in_.push_back(begin + lasts(step.target, trace_.in_bytes_per_s));
      arrivals_[step.target].push_back(ends_in_.back());
    } else if (step.action == Step::Action::Free) {
      now_ = std::max({now_, last_of(departures_[step.target]), last_of(arrivals_[step.target])});
    } else {
      for (const auto& [storage, version] : rules_.needs(step)) {
        now_ = std::max(now_, last_of(arrivals_[storage]));
      }
      for (const StorageId storage : rules_.written_by(step)) {
        now_ = std::max(now_, last_of(departures_[storage]));
      }
      now_ += rules_.at(step.target).ns;
    }
  }

  [[nodiscard]] std::int64_t at_the_end(const NaiveState& state) const {
    std::int64_t end = now_;
    for (const auto& [storage, ends] : arrivals_) {
      if (state.resident.contains(storage)) end = std::max(end, last_of(ends));
    }
    return end;
  }

 private:
  static std::int64_t last_of(const std::vector<std::int64_t>& ends) {
    return ends.empty() ? 0 : ends.back();
  }
  [[nodiscard]] std::int64_t lasts(StorageId storage, std::int64_t bandwidth) const {
    // REQUIRES: less than 2^33 bytes.
    const std::int64_t ns = rules_.bytes_of(storage) * 1'000'000'000;
    return ns / bandwidth + (ns % bandwidth > 0 ? 1 : 0);
  }

  const Trace& trace_;
  const NaiveRules& rules_;
  std::int64_t now_ = 0;
  std::vector<std::int64_t> ends_out_, ends_in_;                          // of the queues, in order
  std::map<StorageId, std::vector<std::int64_t>> departures_, arrivals_;  // when each ended
};

// The most bytes in the tier: for each line, the sum of all copies that are offloaded in it or
// before it, and loaded in it or after it before they are dropped.
inline std::int64_t naive_offloaded_peak(const NaiveRules& rules, const std::vector<Step>& steps) {
  struct Life {
    StorageId storage;
    std::size_t from, to;
  };
  std::vector<Life> lives;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].action != Step::Action::Offload) continue;
    Life life{steps[i].target, i, i};
    for (std::size_t j = i + 1; j < steps.size(); ++j) {
      if (steps[j] == Step{Step::Action::Load, life.storage}) life.to = j;
      if (NaiveRules::runs_an_operator(steps[j]) &&
          rules.written_by(steps[j]).contains(life.storage)) {
        break;
      }
    }
    lives.push_back(life);
  }
  std::int64_t most = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    std::int64_t bytes = 0;
    for (const Life& life : lives) {
      if (life.from <= i && i <= life.to) bytes += rules.bytes_of(life.storage);
    }
    most = std::max(most, bytes);
  }
  return most;
}

inline NaiveOutcome naive_simulate(const Trace& trace, const Plan& plan) {
  const NaiveRules rules(trace);
  NaiveState state = rules.start();
  NaiveClock clock(trace, rules);
  std::int64_t worked = 0;
  NaiveOutcome outcome{.peak = rules.bytes(state)};
  std::int64_t line = 2;
  for (const Step& step : plan.steps) {
    outcome.reason = rules.broken_by(state, step);
    if (!outcome.reason.empty()) {
      outcome.broken_line = line;
      return outcome;
    }
    outcome.peaks.push_back(rules.peak(state, step));
    outcome.peak = std::max(outcome.peak, outcome.peaks.back());
    if (NaiveRules::runs_an_operator(step)) worked += rules.at(step.target).ns;
    clock.take(step);
    if (step.action == Step::Action::Rerun) ++outcome.reruns;
    state = rules.after(std::move(state), step);
    ++line;
  }
  outcome.reason = rules.broken_by_end(state);
  if (!outcome.reason.empty()) {
    outcome.broken_line = line;
    return outcome;
  }
  outcome.ns = clock.at_the_end(state);
  outcome.waited_ns = outcome.ns - worked;
  outcome.offloaded_peak = naive_offloaded_peak(rules, plan.steps);
  return outcome;
}

}  // namespace neap::graph
