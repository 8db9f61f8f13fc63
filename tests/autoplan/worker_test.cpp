// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Plans in another thread: a quick one first, then a thorough one.
#include "autoplan/worker.h"

#include "support/plan_jobs.h"

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <system_error>
#include <thread>
#include <vector>

namespace neap::autoplan {
namespace {

using test::plan_job;

CatalogueEntry next_of(PlanWorker& worker) {
  std::optional<CatalogueEntry> made = worker.wait();
  EXPECT_TRUE(made);
  worker.start_waiting();
  return made ? std::move(*made) : CatalogueEntry();
}

TEST(PlanWorker, makes_a_quick_plan_and_then_one_that_is_no_slower) {
  PlanWorker worker;
  worker.submit(plan_job(1));
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
  worker.submit(plan_job(1));
  worker.submit(plan_job(2));
  EXPECT_EQ(next_of(worker).id.calls, 1U);
  EXPECT_EQ(next_of(worker).id.calls, 2U);
  EXPECT_EQ(next_of(worker).id.calls, 1U);
  EXPECT_EQ(next_of(worker).id.calls, 2U);
  EXPECT_FALSE(worker.wait());
}

// The search that is put off still gives a plan, and is begun anew afterwards.
TEST(PlanWorker, puts_a_search_off_when_a_step_waits_for_a_quick_plan) {
  PlanWorker worker;
  worker.submit(plan_job(1, 400));
  EXPECT_EQ(next_of(worker).id.calls, 1U);
  worker.submit(plan_job(2));
  const CatalogueEntry stopped = next_of(worker);
  EXPECT_EQ(stopped.id.calls, 1U);
  EXPECT_EQ(next_of(worker).id.calls, 2U);
  EXPECT_EQ(next_of(worker).id.calls, 1U);
  EXPECT_EQ(next_of(worker).id.calls, 2U);
  EXPECT_FALSE(worker.wait());
}

TEST(PlanWorker, follows_a_plan_from_a_file_without_a_search) {
  PlanWorker worker;
  auto job = std::make_shared<PlanJob>(*plan_job(1));
  job->fixed = std::make_shared<const graph::Plan>(graph::plain_plan(job->trace));
  job->step.budget = job->fixed->budget;
  worker.submit(job);
  next_of(worker);
  EXPECT_FALSE(worker.wait());
}

TEST(PlanWorker, that_is_shut_down_takes_no_more) {
  PlanWorker worker;
  worker.submit(plan_job(1, 400));
  worker.shut_down();
  worker.submit(plan_job(2));
  EXPECT_TRUE(worker.wait());
  worker.start_waiting();
  EXPECT_FALSE(worker.wait());
}

// ulimit -v: the stack of a thread has no place.
TEST(PlanWorker, without_a_thread_makes_none_and_make_plans_does_it_here) {
  const pid_t child = ::fork();
  if (child == 0) {
    const std::vector jobs{plan_job(1), plan_job(2)};
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    if (file == nullptr || std::fscanf(file, "%lu", &pages) != 1) ::_exit(77);
    std::fclose(file);
    constexpr rlim_t kLessThanAStack = rlim_t{4} << 20;
    const rlimit limit{.rlim_cur = pages * 4096 + kLessThanAStack, .rlim_max = RLIM_INFINITY};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(77);
    try {  // the system keeps some stacks of threads that have ended
      for (int i = 0; i < 100; ++i) std::thread([] { ::pause(); }).detach();
      ::_exit(77);
    } catch (const std::system_error&) {
    }
    PlanWorker worker;
    worker.submit(jobs[0]);
    if (worker.wait()) ::_exit(1);
    const std::vector<CatalogueEntry> made = make_plans(jobs, [] { return false; });
    ::_exit(made.size() == 2 && made[0].id == jobs[0]->step && made[1].step ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no limits here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace neap::autoplan
