// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "analysis/step.h"

#include <neap/analysis.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <utility>

namespace neap {
namespace analysis {
namespace {

using Clock = std::chrono::steady_clock;

using Deadline = std::optional<Clock::time_point>;

// The search of one side. It owns the side's job.
class Search {
 public:
  Search(const JobFactory& make_job, const SizedBatchMaker& make_batch, Bytes budget,
         const MaxBatchOptions& options, Deadline end, bool plain)
      : make_batch_(make_batch),
        make_job_(make_job),
        budget_(budget),
        options_(options),
        end_(end),
        plain_(plain),
        job_(make_job()) {}

  // `first`: a batch size that probably fits; 0: unknown.
  MaxBatchSide run(std::int64_t first) {
    try {
      side_.proved = find(first);
      while (side_.proved && fits_ > 0 && !confirm()) side_.proved = find(0);
    } catch (const Interrupted&) {
      interrupted_ = true;  // what was proved before stays proved
      drop_gradients(job_.optimizer.get());
    }
    side_.batch_size = fits_;
    std::vector<double> milliseconds;
    for (const Trial& trial : side_.trials) {
      if (trial.batch_size != fits_ || !trial.refusal.empty()) continue;
      side_.peak = std::max(side_.peak, trial.peak);
      milliseconds.push_back(trial.milliseconds);
    }
    // Drop the first: it had to fault in pages and to learn the costs of operators.
    if (milliseconds.size() > 1) milliseconds.erase(milliseconds.begin());
    if (fits_ > 0) {
      side_.milliseconds_per_item = quartiles_of(milliseconds).median / static_cast<double>(fits_);
    }
    return std::move(side_);
  }
  [[nodiscard]] bool interrupted() const { return interrupted_; }

 private:
  // Searches until the batch after the largest that fits is refused. False: the search ended
  // before.
  bool find(std::int64_t first) {
    if (side_.trials.empty()) {
      // Makes the optimizer's state; a step without it would take too little.
      if (ends()) return false;
      run_trial(options_.smallest);
    }
    while (!refused_ || *refused_ - std::max(fits_, options_.smallest - 1) > 1) {
      if (ends()) return false;
      run_trial(next_batch(std::exchange(first, 0)));
    }
    return true;
  }

  // Runs the steps at the answer. False when one did not fit: a batch that fits only sometimes does
  // not train.
  bool confirm() {
    const std::int64_t answer = fits_;
    for (std::int64_t step = 0; step < options_.proof_steps && !ends(); ++step) {
      run_trial(answer);
      if (fits_ != answer) return false;
    }
    return true;
  }

  bool ends() {
    interrupted_ = interrupted_ || (options_.stop && options_.stop());
    return interrupted_ || (end_ && Clock::now() >= *end_);
  }

  std::int64_t next_batch(std::int64_t first) {
    if (first > fits_ && !refused_) return first;
    const std::int64_t middle = refused_ ? fits_ + (*refused_ - fits_) / 2 : 2 * fits_;
    // Limited, because uneven peaks would lead it through the batch sizes one by one.
    constexpr int kMostPredictions = 6;
    const std::optional<std::int64_t> predicted = predict();
    if (!predicted || predictions_ == kMostPredictions) return middle;
    ++predictions_;
    // When the prediction fits already, the next larger batch is the proof.
    return std::clamp(*predicted, fits_ + 1, refused_.value_or(64 * fits_) - 1);
  }

  // The largest batch that fits, by the line through the two largest peaks. Plain steps only: the
  // peak of a step under neap follows the budget.
  [[nodiscard]] std::optional<std::int64_t> predict() const {
    if (!plain_) return std::nullopt;
    std::map<std::int64_t, std::int64_t> peaks;
    for (std::size_t i = 1; i < side_.trials.size(); ++i) {  // the first had no optimizer state
      const Trial& trial = side_.trials[i];
      if (trial.peak.count() > 0) peaks[trial.batch_size] = trial.peak.count();
    }
    if (peaks.size() < 2) return std::nullopt;
    const auto [batch2, peak2] = *peaks.rbegin();
    const auto [batch1, peak1] = *std::next(peaks.rbegin());
    if (peak2 <= peak1) return std::nullopt;
    const double slope = static_cast<double>(peak2 - peak1) / static_cast<double>(batch2 - batch1);
    const double more = static_cast<double>(budget_.count() - peak2) / slope;
    return batch2 + static_cast<std::int64_t>(std::floor(std::min(more, 1e12)));
  }

  void run_trial(std::int64_t batch_size) {
    // Online first: each size is new, and a plan for it would be used once, so one is made only
    // when needed.
    const bool planned = planned_.contains(batch_size);
    Trial trial = try_batch(batch_size, planned ? PlanMode(Planned{}) : PlanMode(Online{}));
    if (!plain_ && !planned && !trial.refusal.empty() && plan_batch(batch_size)) {
      planned_.insert(batch_size);
      trial = try_batch(batch_size, Planned{});
    }
    if (plain_ && trial.refusal.empty() && trial.peak > budget_) {
      trial.refusal = "a step holds " + trial.peak.text() + " at its peak, " +
                      (trial.peak - budget_).text() + " more than the budget";
    }
    side_.trials.push_back(trial);
    if (trial.refusal.empty()) {
      fits_ = std::max(fits_, batch_size);
    } else {
      refuse(trial);
    }
  }

  Trial try_batch(std::int64_t batch_size, const PlanMode& policy) {
    Trial trial{.batch_size = batch_size};
    Step step;
    drop_gradients(job_.optimizer.get());
    trial.refusal = refusal_of(job_.optimizer.get(), [&] {
      // Searches try sizes that are too large on purpose.
      std::optional<Fence> fence(
          plain_ ? std::min(budget_ + Bytes(budget_.count() / 4), room_of_machine()) : budget_);
      const train::MicroBatch batch = make_batch_(batch_size);
      if (!plain_) fence.reset();  // the scope has the budget
      run_step(job_, batch,
               {.scope = !plain_,
                .budget = plain_ ? std::nullopt : std::optional(budget_),
                .policy = policy},
               step);
      trial.peak = Bytes(plain_ ? step.peak_live : step.peak_reserved);
      trial.milliseconds = step.milliseconds;
    });
    // An optimizer that was refused in the middle may have lost its state with the scope.
    if (!plain_ && !trial.refusal.empty() && step.update_began) job_ = make_job_();
    return trial;
  }

  // Makes a plan from plain steps, outside of the budget. False: the machine has not enough memory.
  bool plan_batch(std::int64_t batch_size) {
    if (!options_.plan_ahead) return false;
    drop_gradients(job_.optimizer.get());
    return refusal_of(job_.optimizer.get(),
                      [&] {
                        const Fence fence(room_of_machine());
                        plan_ahead(job_, make_batch_(batch_size));
                      })
        .empty();
  }

  void refuse(const Trial& trial) {
    refused_ = trial.batch_size;
    side_.next_refusal = trial.refusal;
    fits_ = 0;
    for (const Trial& other : side_.trials) {
      if (other.refusal.empty() && other.batch_size < trial.batch_size) {
        fits_ = std::max(fits_, other.batch_size);
      }
    }
  }

  const SizedBatchMaker& make_batch_;
  const JobFactory& make_job_;
  Bytes budget_;
  const MaxBatchOptions& options_;
  Deadline end_;
  bool plain_;
  Job job_;
  MaxBatchSide side_;
  std::int64_t fits_ = 0;                // largest that fits; 0: none yet
  std::optional<std::int64_t> refused_;  // smallest that does not fit
  int predictions_ = 0;
  bool interrupted_ = false;
  std::set<std::int64_t> planned_;  // batches that are refused online
};

void check(const JobFactory& make_job, const SizedBatchMaker& make_batch, Bytes budget,
           const MaxBatchOptions& options) {
  if (!make_job || !make_batch) {
    throw InvalidArgument(std::string("max_batch: the maker of ") +
                          (!make_job ? "jobs" : "batches") + " is an empty function; give one");
  }
  if (budget.count() <= 0) {
    throw InvalidArgument("max_batch: a budget of " + std::to_string(budget.count()) +
                          " bytes: expected more than 0");
  }
  if (!(options.margin_percent >= 0 && options.margin_percent < 100)) {
    throw InvalidArgument("max_batch: a margin of " + report::fixed(options.margin_percent, 2) +
                          " %: expected 0 to below 100, of the budget");
  }
  if (options.time_limit_seconds && !(*options.time_limit_seconds > 0)) {
    throw InvalidArgument("max_batch: a time limit of " +
                          report::fixed(*options.time_limit_seconds, 3) +
                          " s: expected more than 0; leave it out for none");
  }
  if (options.smallest < 1 || options.proof_steps < 1) {
    throw InvalidArgument("max_batch: smallest is " + std::to_string(options.smallest) +
                          " and proof_steps " + std::to_string(options.proof_steps) +
                          "; expected 1 or more of each");
  }
}

}  // namespace
}  // namespace analysis

using namespace analysis;

MaxBatchResult max_batch(const JobFactory& make_job, const SizedBatchMaker& make_batch,
                         Bytes budget, const MaxBatchOptions& options) {
  check(make_job, make_batch, budget, options);
  const GeneratorGuard generator;
  MaxBatchResult result;
  result.budget = Bytes(static_cast<std::int64_t>(
      std::floor(static_cast<double>(budget.count()) * (1 - options.margin_percent / 100))));
  const auto start = Clock::now();
  const auto search = [&](bool plain, double share, std::int64_t first) {
    Deadline end;
    if (options.time_limit_seconds) {
      end = start + std::chrono::duration_cast<Clock::duration>(
                        std::chrono::duration<double>(*options.time_limit_seconds * share));
    }
    Search side(make_job, make_batch, result.budget, options, end, plain);
    MaxBatchSide found = side.run(first);
    result.interrupted = side.interrupted();
    return found;
  };
  result.plain = search(/*plain=*/true, 0.5, 0);
  // What fits plain almost always fits in a scope of the budget too.
  if (!result.interrupted) result.neap = search(/*plain=*/false, 1, result.plain.batch_size);
  return result;
}

}  // namespace neap
