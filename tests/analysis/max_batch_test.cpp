// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// A batch that is said to fit and does not costs a whole training. So the answer is compared with a
// search one by one, and the steps that were run must contain its proof.
#include "analysis/measured.h"
#include "memory/allocator.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <stdexcept>

namespace {

using namespace neap;
using analysis::Job;
using analysis::MaxBatchOptions;
using analysis::MaxBatchResult;
using analysis::MaxBatchSide;
using analysis::Trial;
using neap::test::message_of;
using neap::test::SmallModel;

Job make_job() {
  torch::manual_seed(1);
  SmallModel model(false, /*layer_count=*/4, /*dropout=*/0);
  return {model, analysis::sgd(*model), analysis::mean_square};
}

train::MicroBatch make_batch(std::int64_t size) { return analysis::random_batch({size, 64}); }

// A budget of `bytes` above what is reserved already.
Bytes room(std::int64_t bytes) {
  memory::trim();
  return Bytes(memory::usage().reserved + bytes);
}

void expect_proved(const MaxBatchSide& side, Bytes budget) {
  EXPECT_TRUE(side.proved);
  ASSERT_GT(side.batch_size, 0);
  const auto has = [&](std::int64_t batch, bool fits) {
    return std::ranges::any_of(side.trials, [&](const Trial& trial) {
      return trial.batch_size == batch && trial.refusal.empty() == fits;
    });
  };
  EXPECT_TRUE(has(side.batch_size, true));
  EXPECT_TRUE(has(side.batch_size + 1, false)) << "the next batch was run and refused";
  EXPECT_FALSE(has(side.batch_size, false));
  EXPECT_FALSE(side.next_refusal.empty());
  EXPECT_LE(side.peak, budget);
  EXPECT_GT(side.milliseconds_per_item, 0);
}

// The largest batch whose plain step fits the budget, found by trying one after the other.
std::int64_t largest_by_counting(Bytes budget) {
  const Job job = make_job();
  for (std::int64_t batch = 1;; ++batch) {
    const train::MicroBatch data = make_batch(batch);
    for (int step = 0; step < 2; ++step) {
      job.optimizer->zero_grad();
      memory::reset_peak();
      job.loss(job.model.forward(data.x), data.y).backward();
      job.optimizer->step();
    }
    if (Bytes(memory::usage().peak) > budget) return batch - 1;
  }
}

TEST(MaxBatch, is_the_one_that_counting_finds_and_neap_goes_beyond_it) {
  for (const std::int64_t bytes : {400000, 600000, 1000000}) {
    SCOPED_TRACE(bytes);
    const Bytes budget = room(bytes);
    const MaxBatchResult result = max_batch(make_job, make_batch, budget);
    EXPECT_EQ(result.budget, budget);
    expect_proved(result.plain, budget);
    expect_proved(result.neap, budget);
    EXPECT_GT(result.neap.batch_size, result.plain.batch_size);
    // The search holds the generator's state, and this count does not. That makes a difference of
    // one batch at most.
    EXPECT_NEAR(static_cast<double>(result.plain.batch_size),
                static_cast<double>(largest_by_counting(budget)), 16);
  }
}

TEST(MaxBatch, plain_peaks_are_predicted_so_that_few_steps_are_run) {
  const MaxBatchResult result = max_batch(make_job, make_batch, room(3000000), {.proof_steps = 1});
  EXPECT_GT(result.plain.batch_size, 1024);
  // Doubling and bisection would take 21. Blocks are whole pages, so the peaks of so small a model
  // rise in steps of 16 rows.
  EXPECT_LE(result.plain.trials.size(), 14) << result.to_json();
}

TEST(MaxBatch, the_margin_is_taken_off_the_budget) {
  const Bytes budget = room(1000000);
  const MaxBatchResult whole = max_batch(make_job, make_batch, budget);
  const MaxBatchResult less = max_batch(make_job, make_batch, budget, {.margin_percent = 10});
  EXPECT_EQ(less.budget.count(), budget.count() * 9 / 10);
  expect_proved(less.plain, less.budget);
  expect_proved(less.neap, less.budget);
  EXPECT_LT(less.plain.batch_size, whole.plain.batch_size);
}

TEST(MaxBatch, not_even_the_smallest_may_fit) {
  const MaxBatchResult result = max_batch(make_job, make_batch, room(180000), {.smallest = 4});
  for (const MaxBatchSide* side : {&result.plain, &result.neap}) {
    EXPECT_EQ(side->batch_size, 0);
    EXPECT_TRUE(side->proved);
    EXPECT_EQ(side->trials.size(), 1);
    EXPECT_EQ(side->trials[0].batch_size, 4);
    EXPECT_FALSE(side->next_refusal.empty());
    EXPECT_EQ(side->peak, Bytes(0));
  }
  EXPECT_NE(result.text().find("plain           none"), std::string::npos) << result.text();
}

// The optimizer's state appears with the first step. A search that never takes a second step
// promises too much.
TEST(MaxBatch, counts_the_optimizers_state) {
  const auto with_adam = [] {
    Job job = make_job();
    job.optimizer = std::make_shared<torch::optim::Adam>(job.model.module().parameters(),
                                                         torch::optim::AdamOptions(1e-3));
    return job;
  };
  const Bytes budget = room(700000);
  const MaxBatchResult result = max_batch(with_adam, make_batch, budget);
  expect_proved(result.plain, budget);
  const Job job = with_adam();
  const train::MicroBatch data = make_batch(result.plain.batch_size);
  for (int step = 0; step < 4; ++step) {
    job.optimizer->zero_grad();
    memory::reset_peak();
    job.loss(job.model.forward(data.x), data.y).backward();
    job.optimizer->step();
    EXPECT_LE(Bytes(memory::usage().peak), budget) << step;
  }
}

// A batch that fits once but not a second time cannot be trained with.
TEST(MaxBatch, goes_below_a_batch_that_does_not_fit_again) {
  int asked_for_answer = 0;
  std::int64_t answer = 0;
  const Bytes budget = room(600000);
  answer = max_batch(make_job, make_batch, budget).plain.batch_size;
  const auto greedy = [&](std::int64_t size) {
    // From its second call on, this one returns more rows than it says.
    const bool more = size == answer && ++asked_for_answer > 1;
    return make_batch(more ? 2 * size : size);
  };
  const MaxBatchResult result = max_batch(make_job, greedy, budget);
  EXPECT_LT(result.plain.batch_size, answer);
  EXPECT_GT(result.plain.batch_size, 0);
  EXPECT_TRUE(result.plain.proved);
}

TEST(MaxBatch, stops_when_the_time_is_over_with_what_was_proved_by_then) {
  // The shortest of times: it is over before the first trial.
  MaxBatchResult result =
      max_batch(make_job, make_batch, room(600000), {.time_limit_seconds = 1e-9});
  EXPECT_EQ(result.plain.batch_size, 0);
  EXPECT_FALSE(result.plain.proved);
  EXPECT_TRUE(result.plain.trials.empty());
  EXPECT_NE(result.text().find("not run: the time was over"), std::string::npos);
  // A long time changes nothing.
  result = max_batch(make_job, make_batch, room(600000), {.time_limit_seconds = 1e9});
  EXPECT_TRUE(result.plain.proved);
}

TEST(MaxBatch, ends_with_what_was_proved_when_it_is_asked_to) {
  int trials = 0;
  MaxBatchResult result =
      max_batch(make_job, make_batch, room(600000), {.stop = [&] { return ++trials > 3; }});
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.plain.trials.size(), 3);
  EXPECT_GT(result.plain.batch_size, 0);
  EXPECT_FALSE(result.plain.proved);
  EXPECT_TRUE(result.neap.trials.empty());
  EXPECT_NE(result.text().find("not run: interrupted"), std::string::npos) << result.text();
}

TEST(MaxBatch, interrupted_in_a_step_ends_with_what_was_proved) {
  const auto interrupting = [](std::int64_t size) {
    train::MicroBatch batch = make_batch(size);
    if (size > 40) interrupt();  // the next operator of a scope throws
    return batch;
  };
  const MaxBatchResult result = max_batch(make_job, interrupting, room(600000));
  EXPECT_TRUE(result.interrupted);
  EXPECT_TRUE(result.plain.proved) << "plain steps have no scope";
}

TEST(MaxBatch, a_trial_never_takes_more_than_a_quarter_above_the_budget) {
  const Bytes budget = room(600000);
  memory::reset_peak();
  (void)max_batch(make_job, make_batch, budget, {.plan_ahead = false});
  EXPECT_LE(memory::usage().peak_reserved, budget.count() * 5 / 4);
  EXPECT_EQ(memory::budget(), std::nullopt) << "no fence is left behind";
}

TEST(MaxBatch, text_and_json_say_what_was_found) {
  const MaxBatchResult result = max_batch(make_job, make_batch, room(600000));
  EXPECT_TRUE(
      result.text().starts_with("budget: " + result.budget.text() + "\n       largest batch"))
      << result.text();
  EXPECT_NE(result.text().find("more than the budget"), std::string::npos) << result.text();
  const auto json = nlohmann::json::parse(result.to_json());
  EXPECT_EQ(json["budget_bytes"], result.budget.count());
  EXPECT_EQ(json["plain"]["batch_size"], result.plain.batch_size);
  EXPECT_EQ(json["neap"]["proved"], true);
  EXPECT_EQ(json["neap"]["trials"].size(), result.neap.trials.size());
  EXPECT_TRUE(json["neap"]["trials"][0]["refusal"].is_null());
}

TEST(MaxBatch, errors_of_the_job_reach_the_caller) {
  const auto broken = []() -> Job { throw std::runtime_error("no such model"); };
  EXPECT_EQ(
      message_of<std::runtime_error>([&] { (void)max_batch(broken, make_batch, room(600000)); }),
      "no such model");
  const auto wrong = [](std::int64_t size) { return analysis::random_batch({size, 63}); };
  EXPECT_THROW((void)max_batch(make_job, wrong, room(600000)), c10::Error);
  EXPECT_EQ(memory::budget(), std::nullopt);
}

TEST(MaxBatch, refuses_what_cannot_be_searched) {
  const auto refused = [](const analysis::JobFactory& job, const analysis::SizedBatchMaker& batch,
                          Bytes budget, const MaxBatchOptions& options = {}) {
    return message_of<InvalidArgument>([&] { (void)max_batch(job, batch, budget, options); });
  };
  const Bytes budget(1 << 20);
  EXPECT_EQ(refused({}, make_batch, budget),
            "max_batch: the maker of jobs is an empty function; give one");
  EXPECT_EQ(refused(make_job, {}, budget),
            "max_batch: the maker of batches is an empty function; give one");
  EXPECT_EQ(refused(make_job, make_batch, Bytes(0)),
            "max_batch: a budget of 0 bytes: expected more than 0");
  EXPECT_EQ(refused(make_job, make_batch, budget, {.margin_percent = 100}),
            "max_batch: a margin of 100.00 %: expected 0 to below 100, of the budget");
  EXPECT_EQ(refused(make_job, make_batch, budget, {.margin_percent = -1}),
            "max_batch: a margin of -1.00 %: expected 0 to below 100, of the budget");
  EXPECT_EQ(refused(make_job, make_batch, budget, {.time_limit_seconds = 0}),
            "max_batch: a time limit of 0.000 s: expected more than 0; leave it out for none");
  EXPECT_EQ(refused(make_job, make_batch, budget, {.smallest = 0}),
            "max_batch: smallest is 0 and proof_steps 2; expected 1 or more of each");
  EXPECT_EQ(refused(make_job, make_batch, budget, {.proof_steps = 0}),
            "max_batch: smallest is 1 and proof_steps 0; expected 1 or more of each");
}

}  // namespace
