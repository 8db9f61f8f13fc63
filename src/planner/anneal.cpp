// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "planner/anneal.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

namespace neap::planner {
namespace {

class Annealing {
 public:
  Annealing(Schedule& schedule, std::int64_t budget, std::uint64_t seed, Deadline deadline)
      : schedule_(schedule), budget_(budget), random_(seed), deadline_(std::move(deadline)) {
    const Replays& replays = schedule.replays();
    for (Index stage = 0; stage < schedule_.stages(); ++stage) {
      for (Index group = 0; group < replays.groups(); ++group) {
        if (!replays.may_rerun(group, stage)) continue;
        if (replays.operators(group, stage).front() >= stage) continue;
        pairs_.push_back({group, stage});
        mean_ns_ += static_cast<double>(replays.ns(group, stage));
      }
    }
    mean_ns_ = mean_ns_ / static_cast<double>(pairs_.size() + 1) + 1;
  }

  [[nodiscard]] const std::optional<std::vector<GroupRerun>>& best() const { return best_; }
  [[nodiscard]] std::int64_t best_cost() const { return best_cost_; }

  // Starts hot, from the schedule of the last run.
  void run(std::int64_t changes, double hottest) {
    if (pairs_.empty()) return;
    over_ = over();
    if (mean_bytes_ == 0)
      mean_bytes_ = static_cast<double>(over_ > 0 ? over_ : budget_ / 4) / schedule_.stages() + 1;
    for (std::int64_t i = 0; i < changes; ++i) {
      if (i % 256 == 0 && deadline_.has_passed()) break;
      const double left = 1 - static_cast<double>(i) / static_cast<double>(changes);
      const double heat = mean_ns_ * (0.02 + hottest * left * left);
      // Bytes beyond the budget get ever more expensive.
      const double price = mean_ns_ / mean_bytes_ * (0.5 + 10 * (1 - left));
      const double before =
          static_cast<double>(schedule_.cost()) + price * static_cast<double>(over_);
      journal_.clear();
      toggle(pairs_[random_() % pairs_.size()]);
      if (random_() % 2 == 0) toggle(pairs_[random_() % pairs_.size()]);
      if (journal_.empty()) continue;
      const std::int64_t was = std::exchange(over_, over());
      const double after =
          static_cast<double>(schedule_.cost()) + price * static_cast<double>(over_);
      if (after > before - heat * std::log(1 - uniform())) {
        roll_back();
        over_ = was;
      } else if (over_ == 0 && (!best_ || schedule_.cost() < best_cost_)) {
        best_ = schedule_.reruns();
        best_cost_ = schedule_.cost();
      }
    }
  }

 private:
  double uniform() { return static_cast<double>(random_() >> 11) / 9007199254740992.0; }

  // Bytes beyond the budget, summed over the stages.
  std::int64_t over() {
    if (schedule_.peak() <= budget_) return 0;
    std::int64_t sum = 0;
    for (Index stage = 0; stage < schedule_.stages(); ++stage) {
      sum += std::max<std::int64_t>(0, schedule_.stage_peak(stage) - budget_);
    }
    return sum;
  }

  void toggle(GroupRerun rerun) {
    if (schedule_.has(rerun)) {
      if (!schedule_.may_remove(rerun)) return;
      schedule_.remove(rerun);
      journal_.push_back({rerun, false});
      return;
    }
    for (const GroupRerun one : schedule_.closure(rerun)) {
      schedule_.add(one);
      journal_.push_back({one, true});
    }
  }
  void roll_back() {
    for (; !journal_.empty(); journal_.pop_back()) {
      if (journal_.back().second) {
        schedule_.remove(journal_.back().first);
      } else {
        schedule_.add(journal_.back().first);
      }
    }
  }

  Schedule& schedule_;
  std::int64_t budget_;
  std::mt19937_64 random_;
  Deadline deadline_;
  std::vector<GroupRerun> pairs_;
  double mean_ns_ = 0;
  double mean_bytes_ = 0;
  std::int64_t over_ = 0;
  std::vector<std::pair<GroupRerun, bool>> journal_;
  std::optional<std::vector<GroupRerun>> best_;
  std::int64_t best_cost_ = 0;
};

}  // namespace

std::optional<std::vector<GroupRerun>> anneal(const Replays& replays, std::int64_t budget,
                                              std::uint64_t seed, const Deadline& deadline) {
  Schedule schedule(replays);
  Annealing annealing(schedule, budget, seed, deadline);
  for (int round = 0; round < 6; ++round) {
    annealing.run(10'000, 1.5);
    if (round > 0 && annealing.best()) break;
  }
  return annealing.best();
}

void anneal(Schedule& schedule, std::int64_t budget, std::uint64_t seed, const Deadline& deadline) {
  const std::vector<GroupRerun> before = schedule.reruns();
  const std::int64_t cost = schedule.cost();
  Annealing annealing(schedule, budget, seed, deadline);
  annealing.run(10'000, 0.3);
  const bool better = annealing.best() && annealing.best_cost() < cost;
  for (const GroupRerun one : schedule.reruns()) schedule.remove(one);
  for (const GroupRerun one : better ? *annealing.best() : before) schedule.add(one);
}

}  // namespace neap::planner
