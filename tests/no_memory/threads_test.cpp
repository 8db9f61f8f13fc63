// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Threads that neap starts, while operator new finds no memory for them: the program goes on. A
// plan that is written into a cache is not here: what writes JSON ends the program.
#include "autoplan/worker.h"
#include "no_memory/failing_new.h"
#include "support/plan_jobs.h"

#include <neap/data.h>
#include <neap/neap.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

namespace neap::no_memory {
namespace {

class OtherThreads : public testing::TestWithParam<bool> {
 protected:
  // Returns how many calls `act` makes in other threads.
  template <class Act>
  std::int64_t fail_each(std::int64_t most, Act act) {
    act();  // makes what stays for the process
    fail_new_elsewhere(0, /*for_ever=*/false);
    act();
    const std::int64_t calls = stop_failing_elsewhere();
    const std::int64_t stride = std::max<std::int64_t>(1, calls / most);
    for (std::int64_t k = 1; k <= calls; k += stride) {
      fail_new_elsewhere(k, GetParam());
      act();
      stop_failing_elsewhere();
      if (HasFailure()) {
        ADD_FAILURE() << "when call " << k << " failed, after\n" << names_of(failed_call());
        break;
      }
    }
    return calls;
  }
};

TEST_P(OtherThreads, that_make_plans_make_one_or_say_why_not) {
  const std::shared_ptr<const autoplan::PlanJob> job = test::plan_job(/*kind=*/1);
  int made = 0, told = 0;
  const std::int64_t calls = fail_each(100, [&] {
    autoplan::PlanWorker worker;
    worker.submit(job);
    while (const std::optional<autoplan::CatalogueEntry> entry = worker.wait()) {
      EXPECT_EQ(entry->id, job->step);
      EXPECT_NE(entry->step == nullptr, entry->note.empty());
      ++(entry->step ? made : told);
      worker.start_waiting();
    }
  });
  EXPECT_GT(calls, 1000);
  EXPECT_GT(made, 0);
  EXPECT_GT(told, 20);
}

TEST_P(OtherThreads, that_load_batches_leave_them_to_the_program) {
  const at::Tensor x = torch::arange(96 * 5, torch::kFloat32).view({96, 5});
  const at::Tensor y = torch::arange(96);
  const std::int64_t calls = fail_each(200, [&] {
    MemoryEfficientDataLoader loader(data::from_tensors({x, y}), 8, {.workers = 2});
    std::int64_t at = 0;
    for (const data::Batch& batch : loader) {
      EXPECT_TRUE(at::equal(batch.tensors[0], x.narrow(0, at, 8)));
      EXPECT_TRUE(at::equal(batch.tensors[1], y.narrow(0, at, 8)));
      at += 8;
    }
    EXPECT_EQ(at, 96);
  });
  EXPECT_GT(calls, 1000);
}

TEST_P(OtherThreads, that_copy_take_none) {
  const at::Tensor x = torch::randn({1 << 18}, torch::requires_grad());
  const auto loss = [&] {
    at::Tensor y = x;
    for (int i = 0; i < 12; ++i) y = y.sin();
    return y.sum();
  };
  loss().backward();
  const at::Tensor expected = x.grad().clone();
  const auto step = [&] {
    x.mutable_grad().reset();
    Scope scope({.budget = Bytes(memory::usage().live + 5 * x.nbytes()),
                 .policy = Online{},
                 .offload = Offload{.directory = std::filesystem::temp_directory_path()}});
    loss().backward();
    scope.end();
    EXPECT_TRUE(at::equal(x.grad(), expected));
    return scope.stats().offloads;
  };
  step();
  fail_new_elsewhere(1, GetParam());
  const std::int64_t offloads = step();
  EXPECT_EQ(stop_failing_elsewhere(), 0);
  EXPECT_GT(offloads, 0);
}

INSTANTIATE_TEST_SUITE_P(OnceAndForEver, OtherThreads, testing::Bool(),
                         [](const auto& info) { return info.param ? "for_ever" : "once"; });

}  // namespace
}  // namespace neap::no_memory
