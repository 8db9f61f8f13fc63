// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Who follows BudgetExceeded::smallest_feasible in a new process is not refused again. Each training runs in a process of its own:
// nothing that a step has left behind, neither bytes nor what is known of budgets, helps the next one.
#include "support/families.h"

#include <neap/neap.h>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace neap::test {
namespace {

// What the action returned in a process of its own. It has no other threads to lose: the parent runs no operator.
std::vector<std::int64_t> in_new_process(const std::function<std::vector<std::int64_t>()>& action) {
  int ends[2];
  if (pipe(ends) != 0) throw Error("no pipe");
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    int status = 1;
    try {
      const std::vector<std::int64_t> found = action();
      const std::size_t bytes = found.size() * sizeof(std::int64_t);
      status = write(ends[1], found.data(), bytes) == static_cast<ssize_t>(bytes) ? 0 : 1;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
    _exit(status);
  }
  close(ends[1]);
  std::vector<std::int64_t> found;
  for (std::int64_t value = 0; read(ends[0], &value, sizeof(value)) == sizeof(value);) {
    found.push_back(value);
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  return found;
}

constexpr int kSteps = 3;

class Training {
 public:
  Training(const Family& family, const Policy& policy) : policy_(policy) {
    torch::manual_seed(1);
    job_ = family.make();
  }
  void step(std::int64_t budget) {
    for (const auto& optimizer : job_.optimizers) optimizer->zero_grad();
    memory::trim();
    Scope scope({.budget = Bytes(budget), .policy = policy_});
    job_.step();
    scope.end();
    finish_planning();
  }
  // The most that a plain step reserves.
  std::int64_t plain_peak() {
    std::int64_t peak = 0;
    for (int step = 0; step < kSteps; ++step) {
      memory::trim();
      memory::reset_peak();
      job_.step();
      peak = std::max(peak, memory::usage().peak_reserved);
    }
    return peak;
  }

 private:
  Policy policy_;
  Job job_;
};

struct Refusals {
  int count = 0;
  int unknown = 0;  // no budget was known to work
  std::set<std::int64_t> named;
};

// Two steps in what plain LibTorch needs, then one in each of 20 ever smaller budgets.
Refusals sweep(const Family& family, const Policy& policy, std::int64_t peak) {
  Refusals refusals;
  const auto named = in_new_process([&] {
    std::vector<std::int64_t> found;
    Training training(family, policy);
    for (int step = 0; step < 2; ++step) training.step(peak);
    for (int percent = 98; percent > 0; percent -= 5) {
      try {
        training.step(peak * percent / 100);
      } catch (const BudgetExceeded& refusal) {
        found.push_back(refusal.smallest_feasible.count());
      }
    }
    return found;
  });
  for (const std::int64_t bytes : named) {
    ++refusals.count;
    if (bytes == 0) {
      ++refusals.unknown;
    } else {
      refusals.named.insert(bytes);
    }
  }
  return refusals;
}

bool trains(const Family& family, const Policy& policy, std::int64_t budget) {
  return !in_new_process([&]() -> std::vector<std::int64_t> {
            try {
              Training training(family, policy);
              for (int step = 0; step < kSteps; ++step) training.step(budget);
            } catch (const BudgetExceeded&) {
              return {};
            }
            return {1};
          }).empty();
}

std::int64_t smallest_that_trains(const Family& family, const Policy& policy, std::int64_t peak) {
  std::int64_t refused = 0, fits = peak;
  while (fits - refused > peak / 100) {
    const std::int64_t middle = refused + (fits - refused) / 2;
    (trains(family, policy, middle) ? fits : refused) = middle;
  }
  return fits;
}

class SmallestFeasible : public testing::TestWithParam<Family> {};

TEST_P(SmallestFeasible, is_not_refused_in_a_new_process) {
  const Family& family = GetParam();
  const std::int64_t peak =
      in_new_process([&] { return std::vector{Training(family, Online{}).plain_peak()}; }).at(0);
  for (const Policy& policy : {Policy(Online{}), Policy(Planned{})}) {
    const Refusals refusals = sweep(family, policy, peak);
    ASSERT_GT(refusals.count, 0) << "nothing was refused, so nothing is tested";
    for (const std::int64_t budget : refusals.named) {
      EXPECT_TRUE(trains(family, policy, budget)) << budget << " of " << peak << " bytes";
    }
    const std::int64_t smallest = smallest_that_trains(family, policy, peak);
    std::printf("  %s, %s: %d refusals, %d without a number; trains in %.0f %%, named", family.name.c_str(),
                policy.online() ? "on line" : "planned", refusals.count, refusals.unknown,
                100.0 * static_cast<double>(smallest) / static_cast<double>(peak));
    for (const std::int64_t budget : refusals.named) {
      std::printf(" %.0f", 100.0 * static_cast<double>(budget) / static_cast<double>(peak));
    }
    std::printf(" %%\n");
  }
}

std::string name_of(const testing::TestParamInfo<Family>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Families, SmallestFeasible, testing::ValuesIn(families()), name_of);
INSTANTIATE_TEST_SUITE_P(Schemes, SmallestFeasible, testing::ValuesIn(schemes()), name_of);

}  // namespace
}  // namespace neap::test
