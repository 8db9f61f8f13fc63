// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Random plans that obey the rules, and damage to them.
//
//   const Plan plan = random_plan(engine, trace, {});
//   const Plan wrong = damaged(engine, trace, plan);
#pragma once

#include "graph/naive_simulator.h"
#include "graph/random_traces.h"

#include <neap/graph.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <variant>
#include <vector>

namespace neap::graph {

// Shares are in percent.
struct PlanOptions {
  std::int64_t frees = 40;     // of the resident storages, before each run
  std::int64_t reruns = 10;    // of the places before a run: one that nothing asks for
  std::int64_t slack = 20;     // of the budget, at most
  std::int64_t offloads = 15;  // of the resident storages, before each run; only with a tier
};

// One attempt at a plan. It frees at random, and brings back what the next operator needs.
class PlanWalk {
 public:
  PlanWalk(std::mt19937_64& engine, const NaiveRules& rules, const Trace& trace,
           const PlanOptions& options, std::set<StorageId> pinned)
      : engine_(engine),
        rules_(rules),
        options_(options),
        pinned_(std::move(pinned)),
        keep_(trace.keep.begin(), trace.keep.end()),
        has_tier_(trace.out_bytes_per_s > 0),
        state_(rules.start()) {
    for (const Event& event : trace.events) {
      if (const auto* const given = std::get_if<Given>(&event)) held_.insert(given->storage);
    }
    for (const Event& event : trace.events) {
      if (const auto* const release = std::get_if<Release>(&event)) held_.erase(release->storage);
    }
  }

  // Returns whether it reached the end of the trace.
  bool walk() {
    for (std::int64_t i = 0; i < rules_.count(); ++i) {
      offload_some();
      free_some();
      rerun_one();
      work_ = 0;
      if (!ready({Step::Action::Run, i}, 0)) return false;
      take({Step::Action::Run, i});
    }
    free_some();
    for (int attempt = 0; attempt < 3 && !rules_.broken_by_end(state_).empty(); ++attempt) {
      work_ = 0;
      for (const auto& [storage, loaded] : std::map(state_.copies)) {
        if (!loaded && !load_once(storage)) return false;
      }
      if (has_tier_) {
        for (const StorageId storage : held_) {
          if (state_.runs == rules_.count() && !restore(storage, newest(storage), 0)) return false;
        }
      }
      for (const auto& [storage, version] : std::map(state_.resident)) {
        if (version > 0 && !restore(storage, newest(storage), 0)) return false;
      }
      for (const StorageId storage : keep_) {
        if (!restore(storage, newest(storage), 0)) return false;
      }
    }
    return rules_.broken_by_end(state_).empty();
  }

  [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }
  // The storages that could not be brought back.
  [[nodiscard]] const std::set<StorageId>& lost() const { return lost_; }

 private:
  static constexpr int kDepth = 12, kWork = 120;

  [[nodiscard]] std::int64_t newest(StorageId storage) const {
    return rules_.version_before(storage, state_.runs);
  }

  [[nodiscard]] bool may(const Step& step) const { return rules_.broken_by(state_, step).empty(); }

  void take(const Step& step) {
    state_ = rules_.after(std::move(state_), step);
    steps_.push_back(step);
  }

  void offload_some() {
    if (!has_tier_) return;
    for (const auto& [storage, version] : std::map(state_.resident)) {
      if (!chance(engine_, options_.offloads) || pinned_.contains(storage)) continue;
      if (may({Step::Action::Offload, storage})) take({Step::Action::Offload, storage});
    }
  }

  // The copy is loaded once at least.
  bool load_once(StorageId storage) {
    if (state_.resident.contains(storage) && may({Step::Action::Free, storage})) {
      take({Step::Action::Free, storage});
    }
    if (may({Step::Action::Load, storage})) {
      take({Step::Action::Load, storage});
      return true;
    }
    lost_.insert(storage);
    return false;
  }

  void free_some() {
    for (const auto& [storage, version] : std::map(state_.resident)) {
      if (!chance(engine_, options_.frees) || pinned_.contains(storage)) continue;
      if (in_use_of_a_kept_given(storage) || !may({Step::Action::Free, storage})) continue;
      if (!needed_later(storage) || can_come_back(storage)) take({Step::Action::Free, storage});
    }
  }

  // A given storage may be kept although it is released; it cannot come back.
  [[nodiscard]] bool in_use_of_a_kept_given(StorageId storage) const {
    if (state_.copies.contains(storage)) return false;
    return keep_.contains(storage) && !rules_.maker(storage).has_value();
  }

  [[nodiscard]] bool needed_later(StorageId storage) const {
    if (keep_.contains(storage) || held_.contains(storage)) return true;
    for (std::int64_t i = state_.runs; i < rules_.count(); ++i) {
      if (rules_.needs({Step::Action::Run, i}).contains(storage)) return true;
    }
    return false;
  }

  [[nodiscard]] bool can_come_back(StorageId storage) const {
    PlanWalk trial(*this);
    trial.take({Step::Action::Free, storage});
    trial.work_ = kWork / 2;
    return trial.restore(storage, newest(storage), 0);
  }

  void rerun_one() {
    if (!chance(engine_, options_.reruns)) return;
    const Step step{Step::Action::Rerun, below(engine_, state_.runs)};
    if (may(step)) take(step);
  }

  // Brings back everything that `step` needs.
  bool ready(const Step& step, int depth) {
    for (int attempt = 0; attempt < 3; ++attempt) {
      for (const auto& [storage, version] : rules_.needs(step)) {
        if (!restore(storage, version, depth)) return false;
      }
      for (const StorageId storage : rules_.written_by(step)) {
        const auto copy = state_.copies.find(storage);
        if (copy != state_.copies.end() && !copy->second && !load_once(storage)) return false;
      }
      if (may(step)) return true;
    }
    return false;
  }

  bool restore(StorageId storage, std::int64_t version, int depth) {
    while (++work_ <= kWork && depth <= kDepth) {
      const auto at = state_.resident.find(storage);
      if (at != state_.resident.end() && at->second == version) return true;
      if (at == state_.resident.end() && state_.copies.contains(storage) &&
          version == newest(storage) && (!rules_.maker(storage) || chance(engine_, 70))) {
        take({Step::Action::Load, storage});
        continue;
      }
      std::int64_t again = -1;
      if (at == state_.resident.end()) {
        again = rules_.maker(storage).value_or(-1);
      } else if (at->second < version || rules_.in_mid_chain(state_, storage, at->second)) {
        again = rules_.writers(storage).at(static_cast<std::size_t>(at->second));
      } else if (!pinned_.contains(storage) && may({Step::Action::Free, storage})) {
        take({Step::Action::Free, storage});
        continue;
      }
      if (again < 0 || again >= state_.runs || !rules_.at(again).replayable) break;
      if (!ready({Step::Action::Rerun, again}, depth + 1)) break;
      take({Step::Action::Rerun, again});
    }
    lost_.insert(storage);
    return false;
  }

  std::mt19937_64& engine_;
  const NaiveRules& rules_;
  PlanOptions options_;
  std::set<StorageId> pinned_;
  std::set<StorageId> keep_;
  std::set<StorageId> held_;  // given, and never released
  bool has_tier_;
  NaiveState state_;
  std::vector<Step> steps_;
  std::set<StorageId> lost_;
  int work_ = 0;  // steps for this request; its limit ends endless searches
};

// A valid plan with exact figures. A storage that one attempt could not bring back is never freed
// in the next attempt. So in the end an attempt frees nothing that is needed later, and succeeds.
inline Plan random_plan(std::mt19937_64& engine, const Trace& trace,
                        const PlanOptions& options = {}) {
  const NaiveRules rules(trace);
  Plan plan;
  std::set<StorageId> pinned;
  for (int attempt = 0;; ++attempt) {
    PlanOptions now = options;
    if (attempt >= 8) now.frees = now.reruns = now.offloads = 0;
    PlanWalk walk(engine, rules, trace, now, pinned);
    if (walk.walk()) {
      plan.steps = walk.steps();
      break;
    }
    pinned.insert(walk.lost().begin(), walk.lost().end());
  }
  const NaiveOutcome outcome = naive_simulate(trace, plan);
  plan.predicted_peak = outcome.peak;
  plan.predicted_ns = outcome.ns;
  plan.predicted_offloaded = outcome.offloaded_peak;
  plan.budget = outcome.peak + outcome.peak * below(engine, options.slack + 1) / 100;
  return plan;
}

// A plan with steps dropped, doubled, moved, swapped, aimed at another target, turned into other
// actions, or invented.
class Damage {
 public:
  Damage(std::mt19937_64& engine, const Trace& trace, Plan plan)
      : engine_(engine),
        rules_(trace),
        plan_(std::move(plan)),
        actions_(trace.out_bytes_per_s > 0 ? 5 : 3) {
    for (const Event& event : trace.events) {
      if (const auto* const given = std::get_if<Given>(&event)) known_.push_back(given->storage);
      if (const auto* const op = std::get_if<Operator>(&event)) {
        for (const Made& made : op->makes) known_.push_back(made.storage);
      }
    }
  }

  Plan once() {
    if (plan_.steps.empty()) plan_.steps.push_back(any_step());
    // Prefers a free or a rerun to a run, because errors in those are seen at once.
    auto at = place();
    for (int i = 0; i < 3 && at->action == Step::Action::Run; ++i) at = place();
    damage(at);
    return std::move(plan_);
  }

 private:
  using Place = std::vector<Step>::iterator;

  Place place() { return plan_.steps.begin() + below(engine_, std::ssize(plan_.steps)); }

  std::int64_t any_target(Step::Action action) {
    if (action == Step::Action::Run || action == Step::Action::Rerun) {
      return below(engine_, rules_.count() + 2) - 1;
    }
    return known_.empty() || chance(engine_, 10) ? -1 : any_of(engine_, known_);
  }

  Step any_step() {
    const auto action =
        static_cast<Step::Action>(chance(engine_, 10) ? 0 : 1 + below(engine_, actions_ - 1));
    return {action, any_target(action)};
  }

  void damage(Place at) {
    std::vector<Step>& steps = plan_.steps;
    const Step step = *at;
    switch (below(engine_, 11)) {
      case 0:
      case 1:
        steps.erase(at);
        break;
      case 2:
        steps.insert(place(), step);
        break;
      case 3:
        steps.erase(at);
        steps.insert(place(), step);
        break;
      case 4:
        if (std::next(at) != steps.end()) std::iter_swap(at, std::next(at));
        break;
      case 5:
        at->target = any_target(at->action);
        break;
      case 6:
        at->action = static_cast<Step::Action>(below(engine_, actions_));
        break;
      case 7:
        steps.insert(at, any_step());
        break;
      case 8:
        free_after_its_write(at);
        break;
      case 9:
        append_a_part_of_a_chain();
        break;
      default:
        steps.resize(static_cast<std::size_t>(
            std::max<std::ptrdiff_t>(std::ssize(steps) - 1 - below(engine_, 4), 0)));
        break;
    }
  }

  void free_after_its_write(Place from) {
    const auto writes = [this](const Step& step) {
      return step.action == Step::Action::Rerun && step.target >= 0 &&
             step.target < rules_.count() && !rules_.at(step.target).mutates.empty();
    };
    const auto at = std::find_if(from, plan_.steps.end(), writes);
    if (at == plan_.steps.end()) return;
    const StorageId storage = any_of(engine_, rules_.at(at->target).mutates);
    plan_.steps.insert(std::next(at), {Step::Action::Free, storage});
  }

  void append_a_part_of_a_chain() {
    std::vector<StorageId> chains;
    for (const StorageId storage : known_) {
      if (rules_.maker(storage) && !rules_.writers(storage).empty()) chains.push_back(storage);
    }
    if (chains.empty()) return;
    const StorageId storage = any_of(engine_, chains);
    plan_.steps.push_back({Step::Action::Free, storage});
    plan_.steps.push_back({Step::Action::Rerun, *rules_.maker(storage)});
    const std::vector<std::int64_t> writers = rules_.writers(storage);
    const std::int64_t part = below(engine_, std::ssize(writers) + 1);
    for (std::int64_t i = 0; i < part; ++i) {
      plan_.steps.push_back({Step::Action::Rerun, writers[static_cast<std::size_t>(i)]});
    }
    if (actions_ > 3 && chance(engine_, 50)) {
      plan_.steps.push_back({Step::Action::Offload, storage});
    }
  }

  std::mt19937_64& engine_;
  NaiveRules rules_;
  Plan plan_;
  std::int64_t actions_;  // the number of those to choose from
  std::vector<StorageId> known_;
};

// `plan`, damaged in one place. It may still be valid. Its figures stay as they were.
inline Plan damaged(std::mt19937_64& engine, const Trace& trace, const Plan& plan) {
  return Damage(engine, trace, plan).once();
}

}  // namespace neap::graph
