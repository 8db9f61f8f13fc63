// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/compile.h"

#include "engine/records.h"

#include <algorithm>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

namespace neap::autoplan {
namespace {

using graph::StorageId;

constexpr StorageId kMostStorages = StorageId{1} << 24;  // a director takes a byte for each

class Compilation {
 public:
  // `numbers`: the engine's number of each storage. Empty: the number is the storage's id.
  Compilation(std::span<const graph::Foreseen> operators, std::span<const std::uint32_t> numbers)
      : operators_(operators), numbers_(numbers) {
    for (std::size_t i = 0; i < operators_.size(); ++i) {
      for (const StorageId storage : operators_[i].releases) released_after_[storage] = i + 1;
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
          for (const StorageId one : operators_[static_cast<std::size_t>(step.target)].changes) {
            touch(one, true);
          }
          reruns_ = true;
          break;
        case graph::Step::Action::Free:
          free(step.target);
          break;
        case graph::Step::Action::Offload:
          copies_.push_back(step.target);
          break;
        case graph::Step::Action::Load:
          (reruns_ ? loads_ : loads_after_).push_back(step.target);
          break;
      }
    }
    close();
    const auto end = static_cast<std::uint32_t>(step_.blocks.size());
    step_.operators.push_back({end, end, end, end, end, end, end});
    return std::move(step_);
  }

 private:
  void free(StorageId storage) {
    if (reruns_) return touch(storage, false);
    const auto released = released_after_.find(storage);
    const bool now = released != released_after_.end() && released->second == ran_;
    (now ? ends_ : evicts_).push_back(storage);
  }

  // Between two operators, only the last state of a storage counts.
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
    at.loads = write(loads_);
    step_.operators.push_back(at);
    order_.clear();
    touched_.clear();
    reruns_ = false;
    ++ran_;
  }

  // The steps after the last operator are complete now, and are added to it.
  void close() {
    // Frees before the first operator: of storages that no operator uses.
    if (step_.operators.empty()) {
      for (std::vector<StorageId>* const some : {&copies_, &evicts_, &loads_after_, &ends_}) {
        some->clear();
      }
      return;
    }
    PlannedStep::At& at = step_.operators.back();
    at.copies = write(copies_);
    at.evicts = write(evicts_);
    at.loads_after = write(loads_after_);
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
    auto number = static_cast<std::uint32_t>(storage);
    if (!numbers_.empty()) {
      if (storage >= static_cast<StorageId>(numbers_.size())) return;
      number = numbers_[static_cast<std::size_t>(storage)];
    }
    if (number == engine::kNoNumber) return;
    step_.blocks.push_back(number);
    step_.numbers = std::max(step_.numbers, number + 1);
  }

  std::span<const graph::Foreseen> operators_;
  std::span<const std::uint32_t> numbers_;
  // The number of operators that run before the release.
  std::unordered_map<StorageId, std::size_t> released_after_;
  std::size_t ran_ = 0;
  bool reruns_ = false;  // an operator was rerun since the last operator of the step
  // Since then; the values are indices in order_.
  std::unordered_map<StorageId, std::size_t> touched_;
  std::vector<std::pair<StorageId, bool>> order_;
  std::vector<StorageId> evicts_, ends_, copies_, loads_after_;
  std::vector<StorageId> loads_;  // after a rerun
  PlannedStep step_;
};

// Checks everything that following a step relies on, and that a file may violate.
void check(const graph::Plan& plan) {
  const auto count = static_cast<std::int64_t>(plan.operators.size());
  const auto wrong = [](std::size_t step, const std::string& what) {
    throw InvalidArgument("it contradicts itself in line " + std::to_string(step + 2) + ": " +
                          what);
  };
  std::int64_t ran = 0;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const graph::Step& step = plan.steps[i];
    const std::string target = std::to_string(step.target);
    if (step.action == graph::Step::Action::Run) {
      if (step.target != ran++) wrong(i, "operator " + target + " runs out of its order");
    } else if (step.action == graph::Step::Action::Rerun) {
      if (step.target < 0 || step.target >= ran)
        wrong(i, "operator " + target + " has not run yet");
    } else if (step.target < 0 || step.target >= kMostStorages) {
      wrong(i, "there is no storage " + target);
    }
  }
  if (ran != count) {
    wrong(plan.steps.size(), std::to_string(ran) + " operators run, and something is foreseen of " +
                                 std::to_string(count));
  }
  for (const graph::Foreseen& one : plan.operators) {
    for (const StorageId storage : one.changes) {
      if (storage < 0 || storage >= kMostStorages) {
        throw InvalidArgument("it contradicts itself: there is no storage " +
                              std::to_string(storage));
      }
    }
  }
}

}  // namespace

PlannedStep compile(const graph::Trace& trace, const graph::Plan& plan, std::int64_t room,
                    const std::vector<std::uint32_t>& numbers, std::vector<std::uint64_t> calls) {
  const std::vector<graph::Foreseen> operators = graph::foreseen(trace);
  // `numbers` is empty only for a trace without storages. Then nothing is looked up in it.
  PlannedStep step = Compilation(operators, numbers).make(plan);
  step.calls = std::move(calls);
  step.predicted_peak = plan.predicted_peak + room;
  step.predicted_ns = plan.predicted_ns;
  return step;
}

PlannedStep compile(const graph::Plan& plan, std::int64_t room) {
  check(plan);
  PlannedStep step = Compilation(plan.operators, {}).make(plan);
  step.calls.reserve(plan.operators.size());
  for (const graph::Foreseen& one : plan.operators) step.calls.push_back(one.call);
  step.predicted_peak = plan.predicted_peak + room;
  step.predicted_ns = plan.predicted_ns;
  return step;
}

}  // namespace neap::autoplan
