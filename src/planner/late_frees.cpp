// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/late_frees.h"

#include "graph/program.h"
#include "planner/peak_tree.h"

#include <algorithm>
#include <vector>

namespace neap::planner {
namespace {

using graph::Index;
using graph::kNever;
using graph::kNone;
using graph::Program;
using graph::Step;

constexpr std::size_t kNoStep = static_cast<std::size_t>(-1);

class LateFrees {
 public:
  LateFrees(const graph::Trace& trace, graph::Plan plan)
      : program_(trace),
        plan_(std::move(plan)),
        bytes_(plan_.steps.size()),
        run_(static_cast<std::size_t>(program_.operators()), 0),
        last_free_(static_cast<std::size_t>(program_.storages()), kNoStep),
        resident_(static_cast<std::size_t>(program_.storages()), false),
        rewritten_(static_cast<std::size_t>(program_.storages()), false) {}

  graph::Plan plan(std::int64_t limit) {
    arrive(kNone);
    const std::int64_t head = now_;
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) take(plan_.steps[i], i);
    std::vector<std::vector<graph::StorageId>> late(static_cast<std::size_t>(program_.operators()));
    std::vector<bool> moved(plan_.steps.size(), false);
    for (const Stay& stay : stays()) {
      const std::int64_t bytes = program_.storage(stay.storage).bytes;
      if (bytes_.most(stay.from, stay.to) > limit - bytes) continue;
      bytes_.add(stay.from, stay.to, bytes);
      moved[stay.from - 1] = true;
      const Program::Storage& storage = program_.storage(stay.storage);
      if (storage.released != kNever) {
        late[static_cast<std::size_t>(storage.released)].push_back(storage.id);
      }
    }
    std::vector<Step> steps;
    steps.reserve(plan_.steps.size());
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      if (moved[i]) continue;
      const Step step = plan_.steps[i];
      steps.push_back(step);
      if (step.action != Step::Action::Run) continue;
      for (const graph::StorageId id : late[static_cast<std::size_t>(step.target)]) {
        steps.push_back({Step::Action::Free, id});
      }
    }
    plan_.steps = std::move(steps);
    plan_.predicted_peak = std::max(bytes_.most(), head);
    return std::move(plan_);
  }

 private:
  // Steps [from, to) in which the storage would stay, and is freed in the plan.
  struct Stay {
    Index storage;
    std::size_t from, to;
  };

  void take(const Step& step, std::size_t at) {
    if (step.action == Step::Action::Free) {
      const Index storage = program_.index_of(step.target);
      last_free_[static_cast<std::size_t>(storage)] = at;
      resident_[static_cast<std::size_t>(storage)] = false;
      now_ -= program_.storage(storage).bytes;
      return;
    }
    if (step.action == Step::Action::Offload) return;
    if (step.action == Step::Action::Load) {
      const Index storage = program_.index_of(step.target);
      last_free_[static_cast<std::size_t>(storage)] = kNoStep;
      enter(storage);
      bytes_.add(at, at + 1, now_);
      return;
    }
    const auto op = static_cast<Index>(step.target);
    std::int64_t most = now_ + program_.op(op).makes_bytes + program_.op(op).workspace;
    for (const Index storage : program_.makes(op)) {
      last_free_[static_cast<std::size_t>(storage)] = kNoStep;
      if (!resident_[static_cast<std::size_t>(storage)]) enter(storage);
    }
    if (step.action == Step::Action::Run) {
      run_[static_cast<std::size_t>(op)] = at;
      arrive(op);
      most = std::max(most, now_);
    } else {
      // After a writer's rerun, the last free may be of an older version.
      for (const graph::Content& one : program_.mutates(op)) rewrite(one.storage);
      for (const Index storage : program_.makes(op)) {
        if (program_.storage(storage).versions > 0) rewrite(storage);
      }
    }
    bytes_.add(at, at + 1, most);
  }

  void enter(Index storage) {
    resident_[static_cast<std::size_t>(storage)] = true;
    now_ += program_.storage(storage).bytes;
  }
  void arrive(Index op) {
    for (const Index storage : program_.arrivals(op)) enter(storage);
  }
  void rewrite(Index storage) { rewritten_[static_cast<std::size_t>(storage)] = true; }

  // In increasing order of bytes times steps.
  [[nodiscard]] std::vector<Stay> stays() const {
    std::vector<Stay> all;
    for (Index storage = 0; storage < program_.storages(); ++storage) {
      const auto i = static_cast<std::size_t>(storage);
      const Program::Storage& one = program_.storage(storage);
      if (one.given || rewritten_[i] || last_free_[i] == kNoStep) continue;
      const std::size_t to = one.released == kNever
                                 ? plan_.steps.size()
                                 : run_[static_cast<std::size_t>(one.released)] + 1;
      if (last_free_[i] < to) all.push_back({storage, last_free_[i] + 1, to});
    }
    std::ranges::stable_sort(all, {}, [&](const Stay& stay) {
      return static_cast<double>(program_.storage(stay.storage).bytes) *
             static_cast<double>(stay.to - stay.from);
    });
    return all;
  }

  const Program program_;
  graph::Plan plan_;
  PeakTree bytes_;                          // bytes while each step is taken; 0 for a free
  std::vector<std::size_t> run_;            // by operator
  std::vector<std::size_t> last_free_;      // by storage
  std::vector<bool> resident_, rewritten_;  // by storage
  std::int64_t now_ = 0;
};

}  // namespace

graph::Plan free_late(const graph::Trace& trace, graph::Plan plan, std::int64_t limit) {
  const bool copies = std::ranges::count(plan.steps, Step::Action::Offload, &Step::action) > 0;
  plan = LateFrees(trace, std::move(plan)).plan(limit);
  // A later free waits for no copy any more.
  if (copies) plan.predicted_ns = graph::simulate(trace, plan).ns;
  return plan;
}

}  // namespace neap::planner
