// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Plans in another thread: a quick one first, then a thorough one.
#include "autoplan/worker.h"

#include <gtest/gtest.h>

#include <numeric>

namespace neap::autoplan {
namespace {

using graph::Given;
using graph::Operator;
using graph::Release;

constexpr std::int64_t kBytes = 4096;

// A chain of operators forward, and one operator back for each. Storage i is what operator i reads.
graph::Trace chain(std::int64_t length) {
  graph::Trace trace;
  trace.events = {Given{0, kBytes}};
  for (std::int64_t i = 0; i < length; ++i) {
    trace.events.emplace_back(
        Operator{.name = "forward", .reads = {i}, .makes = {{i + 1, kBytes}}, .ns = 100 + i % 7});
  }
  std::int64_t gradient = length;
  for (std::int64_t i = length; i-- > 0;) {
    trace.events.emplace_back(Operator{.name = "back",
                                       .reads = {i, gradient},
                                       .makes = {{gradient + 1, kBytes}},
                                       .ns = 200,
                                       .replayable = false});
    trace.events.emplace_back(Release{gradient++});
    if (i > 0 && i < length) trace.events.emplace_back(Release{i});
  }
  trace.keep = {0, gradient};
  return trace;
}

std::shared_ptr<const PlanJob> job_of(std::uint64_t kind, std::int64_t length = 60) {
  auto job = std::make_shared<PlanJob>();
  job->trace = chain(length);
  job->numbers.resize(static_cast<std::size_t>(2 * length + 2));
  std::iota(job->numbers.begin(), job->numbers.end(), 0U);
  job->calls.resize(static_cast<std::size_t>(2 * length));
  std::iota(job->calls.begin(), job->calls.end(), kind * 1000);
  job->step.calls = kind;
  job->step.count = job->calls.size();
  job->step.budget = length * kBytes / 3;
  return job;
}

CatalogueEntry next_of(PlanWorker& worker) {
  std::optional<CatalogueEntry> made = worker.wait();
  EXPECT_TRUE(made);
  worker.start_waiting();
  return made ? std::move(*made) : CatalogueEntry();
}

TEST(PlanWorker, makes_a_quick_plan_and_then_one_that_is_no_slower) {
  PlanWorker worker;
  worker.submit(job_of(1));
  const CatalogueEntry quick = next_of(worker);
  ASSERT_TRUE(quick.step) << quick.note;
  const CatalogueEntry thorough = next_of(worker);
  ASSERT_TRUE(thorough.step) << thorough.note;
  EXPECT_EQ(thorough.id, quick.id);
  EXPECT_LE(thorough.step->predicted_ns, quick.step->predicted_ns);
  EXPECT_FALSE(worker.wait()) << "there is nothing to do after the thorough one";
}

TEST(PlanWorker, makes_a_quick_plan_of_a_newer_step_before_it_searches_on) {
  PlanWorker worker;
  worker.submit(job_of(1));
  worker.submit(job_of(2));
  EXPECT_EQ(next_of(worker).id.calls, 1U);
  EXPECT_EQ(next_of(worker).id.calls, 2U);
  EXPECT_EQ(next_of(worker).id.calls, 1U);
  EXPECT_EQ(next_of(worker).id.calls, 2U);
  EXPECT_FALSE(worker.wait());
}

// The search that is put off still gives a plan, and is begun anew afterwards.
TEST(PlanWorker, puts_a_search_off_when_a_step_waits_for_a_quick_plan) {
  PlanWorker worker;
  worker.submit(job_of(1, 400));
  EXPECT_EQ(next_of(worker).id.calls, 1U);
  worker.submit(job_of(2));
  const CatalogueEntry stopped = next_of(worker);
  EXPECT_EQ(stopped.id.calls, 1U);
  EXPECT_EQ(next_of(worker).id.calls, 2U);
  EXPECT_EQ(next_of(worker).id.calls, 1U);
  EXPECT_EQ(next_of(worker).id.calls, 2U);
  EXPECT_FALSE(worker.wait());
}

TEST(PlanWorker, follows_a_plan_from_a_file_without_a_search) {
  PlanWorker worker;
  auto job = std::make_shared<PlanJob>(*job_of(1));
  job->fixed = std::make_shared<const graph::Plan>(graph::plain_plan(job->trace));
  job->step.budget = job->fixed->budget;
  worker.submit(job);
  next_of(worker);
  EXPECT_FALSE(worker.wait());
}

TEST(PlanWorker, that_is_shut_down_takes_no_more) {
  PlanWorker worker;
  worker.submit(job_of(1, 400));
  worker.shut_down();
  worker.submit(job_of(2));
  EXPECT_TRUE(worker.wait());
  worker.start_waiting();
  EXPECT_FALSE(worker.wait());
}

}  // namespace
}  // namespace neap::autoplan
