// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// The best plan of a tiny trace with a tier, found by trying everything that the rules allow. A
// state is what is resident, what has a copy, and how much later than now each copy ends and each
// queue is free.
#pragma once

#include "graph/naive_simulator.h"

#include <neap/graph.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace neap::graph {

class AllCopies {
 public:
  explicit AllCopies(const Trace& trace) : trace_(trace), rules_(trace) {
    for (const Event& event : trace.events) {
      if (const auto* const given = std::get_if<Given>(&event)) storages_.push_back(given->storage);
      if (const auto* const op = std::get_if<Operator>(&event)) {
        for (const Made& made : op->makes) storages_.push_back(made.storage);
      }
    }
  }

  // nullopt: it takes more than `most_states` to know.
  std::optional<std::int64_t> smallest_peak(std::size_t most_states) {
    return search(std::numeric_limits<std::int64_t>::max(),
                  std::numeric_limits<std::int64_t>::max(), most_states, true);
  }
  // The least time inside the budget, at most `most_ns`, which some plan takes.
  std::optional<std::int64_t> least_ns(std::int64_t budget, std::int64_t most_ns,
                                       std::size_t most_states) {
    return search(budget, most_ns, most_states, false);
  }

 private:
  struct State {
    NaiveState rules;
    std::int64_t now = 0, out_free = 0, in_free = 0;
    std::map<StorageId, std::int64_t> ready, copied;
  };

  static void forget_past(State& state) {
    state.out_free = std::max(state.out_free, state.now);
    state.in_free = std::max(state.in_free, state.now);
    for (auto* const times : {&state.ready, &state.copied}) {
      std::erase_if(*times, [&](const auto& one) { return one.second <= state.now; });
    }
  }

  static std::string key(const State& state, bool with_times) {
    std::string text = std::to_string(state.rules.runs);
    for (const auto& [id, version] : state.rules.resident) {
      text += " r" + std::to_string(id) + ':' + std::to_string(version);
    }
    for (const auto& [id, loaded] : state.rules.copies) {
      text += (loaded ? " L" : " c") + std::to_string(id);
    }
    if (!with_times) return text;
    text += ' ' + std::to_string(state.out_free - state.now) + ' ' +
            std::to_string(state.in_free - state.now);
    for (const auto* const times : {&state.ready, &state.copied}) {
      text += '|';
      for (const auto& [id, time] : *times) {
        text += std::to_string(id) + '+' + std::to_string(time - state.now) + ' ';
      }
    }
    return text;
  }

  static std::int64_t of(const std::map<StorageId, std::int64_t>& times, StorageId id) {
    const auto at = times.find(id);
    return at == times.end() ? 0 : at->second;
  }
  [[nodiscard]] std::int64_t copy_time(StorageId id, std::int64_t bandwidth) const {
    const std::int64_t ns = rules_.bytes_of(id) * 1'000'000'000;
    return (ns + bandwidth - 1) / bandwidth;
  }

  [[nodiscard]] State after(State state, const Step& step) const {
    const StorageId id = step.target;
    if (step.action == Step::Action::Offload) {
      state.out_free = std::max({state.now, state.out_free, of(state.ready, id)}) +
                       copy_time(id, trace_.out_bytes_per_s);
      state.copied[id] = state.out_free;
    } else if (step.action == Step::Action::Load) {
      state.in_free = std::max({state.now, state.in_free, of(state.copied, id)}) +
                      copy_time(id, trace_.in_bytes_per_s);
      state.ready[id] = state.in_free;
    } else if (step.action == Step::Action::Free) {
      state.now = std::max({state.now, of(state.copied, id), of(state.ready, id)});
    } else {
      for (const auto& [need, version] : rules_.needs(step)) {
        state.now = std::max(state.now, of(state.ready, need));
      }
      for (const StorageId written : rules_.written_by(step)) {
        state.now = std::max(state.now, of(state.copied, written));
      }
      state.now += rules_.at(step.target).ns;
    }
    state.rules = rules_.after(std::move(state.rules), step);
    forget_past(state);
    return state;
  }

  [[nodiscard]] std::int64_t end_of(const State& state) const {
    std::int64_t end = state.now;
    for (const auto& [id, time] : state.ready) {
      if (state.rules.resident.contains(id)) end = std::max(end, time);
    }
    return end;
  }

  [[nodiscard]] std::vector<Step> steps(const State& state) const {
    std::vector<Step> all;
    for (const StorageId id : storages_) {
      for (const auto action : {Step::Action::Free, Step::Action::Offload, Step::Action::Load}) {
        all.push_back({action, id});
      }
    }
    for (std::int64_t op = 0; op < rules_.count(); ++op) {
      all.push_back({op == state.rules.runs ? Step::Action::Run : Step::Action::Rerun, op});
    }
    std::erase_if(all,
                  [&](const Step& step) { return !rules_.broken_by(state.rules, step).empty(); });
    return all;
  }

  // Dijkstra's algorithm by time, or by the peak.
  std::optional<std::int64_t> search(std::int64_t budget, std::int64_t most,
                                     std::size_t most_states, bool by_peak) {
    using Entry = std::pair<std::int64_t, std::size_t>;
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
    std::vector<State> states;
    std::map<std::string, std::int64_t> costs;
    std::set<std::string> done;
    const auto put = [&](std::int64_t cost, State state) {
      if (cost > most) return;
      const auto [at, fresh] = costs.try_emplace(key(state, !by_peak), cost);
      if (!fresh && at->second <= cost) return;
      at->second = cost;
      states.push_back(std::move(state));
      open.emplace(cost, states.size() - 1);
    };
    State start;
    start.rules = rules_.start();
    if (rules_.bytes(start.rules) > budget) return {};
    put(by_peak ? rules_.bytes(start.rules) : 0, start);
    std::int64_t best = std::numeric_limits<std::int64_t>::max();
    while (!open.empty()) {
      const auto [cost, number] = open.top();
      open.pop();
      if (cost >= best) return best;
      const State state = states[number];
      if (!done.insert(key(state, !by_peak)).second) continue;
      if (done.size() > most_states) return {};
      if (rules_.broken_by_end(state.rules).empty()) {
        best = std::min(best, by_peak ? cost : end_of(state));
      }
      for (const Step& step : steps(state)) {
        const std::int64_t peak = rules_.peak(state.rules, step);
        if (peak > budget) continue;
        State next = after(state, step);
        const std::int64_t now = next.now;
        put(by_peak ? std::max(cost, peak) : now, std::move(next));
      }
    }
    if (best == std::numeric_limits<std::int64_t>::max()) return {};
    return best;
  }

  const Trace& trace_;
  NaiveRules rules_;
  std::vector<StorageId> storages_;
};

}  // namespace neap::graph
