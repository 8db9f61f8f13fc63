// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/emit.h"

#include "graph/simulator.h"
#include "planner/transfers.h"

#include <span>
#include <utility>

namespace neap::planner {
namespace {

using graph::Step;

class Emission {
 public:
  // `transfers`: the places of the copies; null: there are none.
  Emission(const Schedule& schedule, const Transfers* transfers)
      : schedule_(schedule),
        program_(schedule.program()),
        transfers_(transfers),
        released_(lists_of_releases()) {
    if (transfers != nullptr) places_ = transfers->places();
  }

  std::vector<Step> steps() {
    for (const Index storage : program_.arrivals(kNone)) free_if_over(storage, -1);
    for (Index stage = 0; stage < schedule_.stages(); ++stage) {
      copy(stage, kNone);
      for (const Index op : schedule_.operators(stage)) {
        take(Step::Action::Rerun, op, stage);
        copy(stage, op);
      }
      if (stage < program_.operators()) take(Step::Action::Run, stage, stage);
    }
    return std::move(steps_);
  }

 private:
  void take(Step::Action action, Index op, Index stage) {
    steps_.push_back({action, op});
    const Moment now = schedule_.moment(stage, op);
    for (const graph::Content& need : program_.needs(op)) {
      // A given storage that is released with this operator ends at its release, below.
      if (!released_here(need.storage, action, op)) free_if_over(need.storage, now);
    }
    for (const Index storage : program_.makes(op)) free_if_over(storage, now);
    if (action != Step::Action::Run) return;
    for (const Index storage : released_[static_cast<std::size_t>(op)]) free_if_over(storage, now);
    for (const Index storage : program_.arrivals(op)) {
      free_if_over(storage, schedule_.moment(stage, program_.operators()));
    }
  }

  // The copies that stand behind the rerun, or with kNone, at the beginning of the stage.
  void copy(Index stage, Index after) {
    while (!places_.empty() && places_.front().stage == stage && places_.front().after == after) {
      steps_.push_back(places_.front().step);
      places_ = places_.subspan(1);
    }
  }

  [[nodiscard]] bool released_here(Index storage, Step::Action action, Index op) const {
    const Program::Storage& one = program_.storage(storage);
    return one.given && action == Step::Action::Run && one.released == op;
  }

  void free_if_over(Index storage, Moment now) {
    if (!schedule_.ends_at(storage, now)) return;
    if (transfers_ != nullptr && transfers_->is_gap(storage, now)) return;
    steps_.push_back({Step::Action::Free, program_.storage(storage).id});
  }

  // Given storages by the operator that their release follows, without those that arrive there, and
  // those that are kept.
  [[nodiscard]] std::vector<std::vector<Index>> lists_of_releases() const {
    std::vector<std::vector<Index>> lists(static_cast<std::size_t>(program_.operators()));
    for (Index storage = 0; storage < program_.storages(); ++storage) {
      const Program::Storage& one = program_.storage(storage);
      if (!one.given || one.released == graph::kNever || one.released <= one.arrival) continue;
      if (one.keep) continue;
      lists[static_cast<std::size_t>(one.released)].push_back(storage);
    }
    return lists;
  }

  const Schedule& schedule_;
  const Program& program_;
  const Transfers* transfers_;
  std::vector<std::vector<Index>> released_;
  std::span<const Transfers::Place> places_;
  std::vector<Step> steps_;
};

}  // namespace

graph::Plan emit(Schedule& schedule, std::int64_t budget, std::int64_t limit) {
  graph::Plan plan;
  plan.budget = budget;
  const Program& program = schedule.program();
  if (schedule.load_count() == 0) {
    plan.steps = Emission(schedule, nullptr).steps();
    plan.predicted_peak = schedule.peak();
    plan.predicted_ns = schedule.rerun_ns();
    for (Index op = 0; op < program.operators(); ++op) plan.predicted_ns += program.op(op).ns;
    return plan;
  }
  Transfers transfers(program, limit);
  transfers.place(schedule, budget);
  plan.steps = Emission(schedule, &transfers).steps();
  graph::Simulator simulator(program);
  for (const Step& step : plan.steps) simulator.take(step);
  simulator.end();
  plan.predicted_peak = simulator.outcome().peak;
  plan.predicted_ns = simulator.outcome().ns;
  plan.predicted_offloaded = simulator.outcome().offloaded_peak;
  return plan;
}

}  // namespace neap::planner
