// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// BudgetExceeded::smallest_feasible must work in a new process too. So each training runs in a
// process of its own. Then nothing that a step has left behind helps the next one, neither bytes
// nor knowledge of budgets.
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

// Runs the action in a process of its own and returns its result. Forking is safe, because the
// parent runs no operator and so has no other threads.
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
  explicit Training(const Family& family) {
    torch::manual_seed(1);
    job_ = family.make();
  }
  void step(std::int64_t budget) {
    for (const auto& optimizer : job_.optimizers) optimizer->zero_grad();
    memory::trim();
    Scope scope({.budget = Bytes(budget)});
    job_.step();
    scope.end();
    finish_planning();
  }
  // The largest amount that a plain step reserves.
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
  Job job_;
};

// Runs two steps in the memory that plain LibTorch needs, then one step in each of smaller and
// smaller budgets. Returns the budgets that the refusals named.
std::vector<std::int64_t> sweep(const Family& family, std::int64_t peak) {
  return in_new_process([&] {
    std::vector<std::int64_t> named;
    Training training(family);
    for (int step = 0; step < 2; ++step) training.step(peak);
    constexpr int kBudgets = 24;
    auto budget = static_cast<double>(peak);
    for (int i = 0; i < kBudgets; ++i) {
      budget *= 0.93;
      try {
        training.step(static_cast<std::int64_t>(budget));
      } catch (const BudgetExceeded& refusal) {
        named.push_back(refusal.smallest_feasible.count());
      }
    }
    return named;
  });
}

bool trains(const Family& family, std::int64_t budget) {
  return !in_new_process([&]() -> std::vector<std::int64_t> {
            try {
              Training training(family);
              for (int step = 0; step < kSteps; ++step) training.step(budget);
            } catch (const BudgetExceeded&) {
              return {};
            }
            return {1};
          }).empty();
}

class SmallestFeasible : public testing::TestWithParam<Family> {};

TEST_P(SmallestFeasible, is_not_refused_in_a_new_process) {
  const Family& family = GetParam();
  const std::int64_t peak =
      in_new_process([&] { return std::vector{Training(family).plain_peak()}; }).at(0);
  const std::vector<std::int64_t> named = sweep(family, peak);
  ASSERT_FALSE(named.empty()) << "nothing was refused, so nothing is tested";
  std::set<std::int64_t> budgets(named.begin(), named.end());
  budgets.erase(0);  // no budget was known to work
  EXPECT_TRUE(!budgets.empty() || family.name == "tree_net") << "those alone never repeat";
  for (const std::int64_t budget : budgets) {
    EXPECT_TRUE(trains(family, budget)) << budget << " of " << peak << " bytes";
  }
}

std::string name_of(const testing::TestParamInfo<Family>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Families, SmallestFeasible, testing::ValuesIn(families()), name_of);
INSTANTIATE_TEST_SUITE_P(Schemes, SmallestFeasible, testing::ValuesIn(schemes()), name_of);

}  // namespace
}  // namespace neap::test
