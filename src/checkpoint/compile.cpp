// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "checkpoint/compile.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace neap::checkpointing {
namespace {

using engine::PlannedStep;
using graph::StorageId;

class Compilation {
 public:
  Compilation(const graph::Trace& trace, const std::vector<std::uint32_t>& numbers)
      : numbers_(numbers) {
    for (const graph::Event& event : trace.events) {
      if (const auto* const op = std::get_if<graph::Operator>(&event)) {
        operators_.push_back(op);
      } else if (const auto* const release = std::get_if<graph::Release>(&event)) {
        released_after_[release->storage] = operators_.size();
      }
    }
  }

  PlannedStep make(const graph::Plan& plan) {
    step_.operators.reserve(operators_.size() + 1);
    step_.blocks.reserve(plan.steps.size());
    for (const graph::Step& step : plan.steps) {
      switch (step.action) {
        case graph::Step::Action::Run:
          run();
          break;
        case graph::Step::Action::Rerun:
          rerun(*operators_[static_cast<std::size_t>(step.target)]);
          break;
        case graph::Step::Action::Free:
          free(step.target);
          break;
      }
    }
    close();
    const auto end = static_cast<std::uint32_t>(step_.blocks.size());
    step_.operators.push_back({end, end, end, end});
    return std::move(step_);
  }

 private:
  void rerun(const graph::Operator& op) {
    reruns_ = true;
    for (const graph::Made& made : op.makes) touch(made.storage, true);
    for (const StorageId storage : op.mutates) touch(storage, true);
  }

  void free(StorageId storage) {
    if (reruns_) return touch(storage, false);
    const auto released = released_after_.find(storage);
    const bool now = released != released_after_.end() && released->second == ran_;
    (now ? ends_ : evicts_).push_back(storage);
  }

  // Between two operators the last word counts.
  void touch(StorageId storage, bool there) {
    const auto [known, added] = touched_.try_emplace(storage, order_.size());
    if (added) order_.push_back({storage, there});
    order_[known->second].second = there;
  }

  void run() {
    close();
    PlannedStep::At at{};
    at.brings = write([](bool there) { return there; });
    at.leaves = write([](bool there) { return !there; });
    step_.operators.push_back(at);
    order_.clear();
    touched_.clear();
    reruns_ = false;
    ++ran_;
  }

  // What follows the last operator is complete.
  void close() {
    if (step_.operators.empty()) {  // frees before the first operator: of what no operator uses
      evicts_.clear();
      ends_.clear();
      return;
    }
    PlannedStep::At& at = step_.operators.back();
    at.evicts = write(evicts_);
    at.ends = write(ends_);
  }

  template <class Test>
  std::uint32_t write(Test test) {
    const auto begin = static_cast<std::uint32_t>(step_.blocks.size());
    for (const auto& [storage, there] : order_) {
      if (test(there)) write(storage);
    }
    return begin;
  }
  std::uint32_t write(std::vector<StorageId>& storages) {
    const auto begin = static_cast<std::uint32_t>(step_.blocks.size());
    for (const StorageId storage : storages) write(storage);
    storages.clear();
    return begin;
  }
  void write(StorageId storage) {
    if (storage >= static_cast<StorageId>(numbers_.size())) return;
    const std::uint32_t number = numbers_[static_cast<std::size_t>(storage)];
    if (number == engine::kNoNumber) return;
    step_.blocks.push_back(number);
    step_.numbers = std::max(step_.numbers, number + 1);
  }

  const std::vector<std::uint32_t>& numbers_;
  std::vector<const graph::Operator*> operators_;
  std::unordered_map<StorageId, std::size_t> released_after_;  // so many operators
  std::size_t ran_ = 0;
  bool reruns_ = false;                                 // since the last operator
  std::unordered_map<StorageId, std::size_t> touched_;  // since then: places in order_
  std::vector<std::pair<StorageId, bool>> order_;
  std::vector<StorageId> evicts_, ends_;
  PlannedStep step_;
};

}  // namespace

graph::Trace with_what_is_held(const graph::Trace& trace) {
  graph::Trace held;
  held.keep = trace.keep;
  held.events.reserve(trace.events.size());
  for (const graph::Event& event : trace.events) {
    held.events.push_back(event);
    auto* const op = std::get_if<graph::Operator>(&held.events.back());
    if (op == nullptr || op->replayable) continue;
    const std::vector<graph::Made> makes = std::exchange(op->makes, {});
    for (const graph::Made& made : makes) op->workspace += made.bytes;
    for (const graph::Made& made : makes) {
      held.events.emplace_back(
          graph::Given{made.storage, made.bytes, graph::StorageKind::Constant});
    }
  }
  return held;
}

PlannedStep compile(const graph::Trace& trace, const graph::Plan& plan, std::int64_t room,
                    const std::vector<std::uint32_t>& numbers, std::vector<std::uint64_t> calls) {
  PlannedStep step = Compilation(trace, numbers).make(plan);
  step.calls = std::move(calls);
  step.predicted_peak = plan.predicted_peak + room;
  step.predicted_ns = plan.predicted_ns;
  return step;
}

}  // namespace neap::checkpointing
