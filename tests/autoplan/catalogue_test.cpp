// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// Which plans a scope may follow and in which order, and how the plans of one step serve others.
#include "autoplan/catalogue.h"

#include "autoplan/plan_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

namespace neap::autoplan {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsNull;
using testing::NotNull;

constexpr std::int64_t kBudget = 1000;

// A step with this number of operators. Steps of one `name` begin alike: the hash of the first n
// operators is name * 1000 + n.
StepId step_id(std::uint64_t name, std::size_t operators, std::int64_t budget = kBudget) {
  return {name * 1000 + operators, operators, budget};
}

CatalogueEntry entry_of(const StepId& id) {
  auto step = std::make_shared<PlannedStep>();
  step->calls.resize(id.count);
  std::iota(step->calls.begin(), step->calls.end(), id.calls - id.count + 1);
  CatalogueEntry entry;
  entry.id = id;
  entry.step = std::move(step);
  entry.base = 100;
  entry.margin = 10;
  return entry;
}

// An entry for a trace whose operators take 1, 2, 4 ... ns; `reruns` lists those that run again.
CatalogueEntry made_from_trace(const StepId& id, const std::vector<std::int64_t>& reruns) {
  auto job = std::make_shared<PlanJob>();
  job->step = id;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(id.count); ++i) {
    job->trace.events.emplace_back(graph::Operator{.name = "op", .ns = std::int64_t{1} << i});
  }
  CatalogueEntry entry = entry_of(id);
  entry.job = std::move(job);
  for (const std::int64_t op : reruns) entry.reruns.push_back({op, op + 1});
  return entry;
}

// The number of operators of each plan, in the order of the candidates.
std::vector<std::size_t> candidates(Catalogue& catalogue, std::optional<StepId> expected = {},
                                    std::int64_t live = 100) {
  std::vector<std::size_t> sizes;
  for (const auto& step : catalogue.candidates({0, 0, kBudget}, expected, live)) {
    sizes.push_back(step->calls.size());
  }
  return sizes;
}

TEST(Catalogue, tries_the_plan_that_was_used_last_first) {
  Catalogue catalogue;
  for (const std::uint64_t name : {1, 2, 3}) catalogue.add(entry_of(step_id(name, name + 1)));
  EXPECT_THAT(candidates(catalogue), ElementsAre(4, 3, 2));
  catalogue.mark_used(*catalogue.find(step_id(1, 2)));
  EXPECT_THAT(candidates(catalogue), ElementsAre(2, 4, 3));
}

TEST(Catalogue, tries_the_expected_step_first) {
  Catalogue catalogue;
  for (const std::uint64_t name : {1, 2, 3}) catalogue.add(entry_of(step_id(name, name + 1)));
  EXPECT_THAT(candidates(catalogue, step_id(1, 2)), ElementsAre(2, 4, 3));
  EXPECT_THAT(candidates(catalogue, step_id(7, 7)), ElementsAre(4, 3, 2));
}

TEST(Catalogue, tries_a_plan_that_goes_on_where_another_ends_before_that_one) {
  Catalogue catalogue;
  catalogue.add(entry_of(step_id(1, 9)));
  catalogue.add(entry_of(step_id(1, 5)));
  catalogue.add(entry_of(step_id(2, 4)));
  catalogue.add(entry_of(step_id(1, 3)));
  EXPECT_THAT(candidates(catalogue), ElementsAre(9, 5, 3, 4));
}

TEST(Catalogue, offers_no_plan_of_another_budget_or_file_nor_one_that_counts_with_less_beside_it) {
  Catalogue catalogue;
  catalogue.add(entry_of(step_id(1, 2, kBudget + 1)));
  CatalogueEntry of_file = entry_of(step_id(2, 3));
  of_file.id.plan_file = "plan.jsonl";
  catalogue.add(std::move(of_file));
  catalogue.add(entry_of(step_id(3, 4)));
  EXPECT_THAT(candidates(catalogue, {}, 110), ElementsAre(4));
  EXPECT_THAT(candidates(catalogue, {}, 111), IsEmpty());
}

TEST(Catalogue, keeps_a_plan_when_a_later_search_finds_none) {
  Catalogue catalogue;
  catalogue.add(entry_of(step_id(1, 2)));
  CatalogueEntry without = entry_of(step_id(1, 2));
  without.step.reset();
  catalogue.add(std::move(without));
  EXPECT_THAT(candidates(catalogue), ElementsAre(2));
}

TEST(Catalogue, replaces_the_entry_that_was_used_least_lately) {
  Catalogue catalogue;
  for (std::uint64_t name = 1; name <= Catalogue::kMost; ++name) {
    catalogue.add(entry_of(step_id(name, 2)));
  }
  catalogue.mark_used(*catalogue.find(step_id(1, 2)));
  catalogue.add(entry_of(step_id(99, 2)));
  EXPECT_THAT(catalogue.find(step_id(1, 2)), NotNull());
  EXPECT_THAT(catalogue.find(step_id(2, 2)), IsNull());
  EXPECT_THAT(catalogue.find(step_id(99, 2)), NotNull());
}

TEST(Catalogue, keeps_the_jobs_of_the_last_used_and_all_plans) {
  Catalogue catalogue;
  for (std::uint64_t name = 1; name <= Catalogue::kMost; ++name) {
    catalogue.add(made_from_trace(step_id(name, 2), {1}));
  }
  for (std::uint64_t name = 1; name <= Catalogue::kMost; ++name) {
    const CatalogueEntry* const entry = catalogue.find(step_id(name, 2));
    EXPECT_EQ(entry->job != nullptr, name > Catalogue::kMost - Catalogue::kMostJobs) << name;
    EXPECT_NE(entry->step, nullptr);
  }
}

TEST(Catalogue, gives_the_faster_plan_of_a_smaller_budget_to_a_larger_one) {
  const StepId small = step_id(1, 4, kBudget - 100), large = step_id(1, 4);
  Catalogue catalogue;
  catalogue.add(made_from_trace(large, {3}));     // 8 ns
  catalogue.add(made_from_trace(small, {1, 2}));  // 6 ns
  EXPECT_EQ(catalogue.find(large)->step, catalogue.find(small)->step);
  EXPECT_EQ(catalogue.find(large)->margin, catalogue.find(small)->margin + 100);

  Catalogue other;
  other.add(made_from_trace(large, {2}));     // 4 ns
  other.add(made_from_trace(small, {1, 2}));  // 6 ns
  EXPECT_NE(other.find(large)->step, other.find(small)->step);
}

TEST(Catalogue, gives_no_plan_to_a_smaller_budget_or_to_other_operators) {
  Catalogue catalogue;
  catalogue.add(made_from_trace(step_id(1, 4, kBudget - 100), {3}));
  catalogue.add(made_from_trace(step_id(2, 4, kBudget + 100), {3}));
  catalogue.add(made_from_trace(step_id(1, 4), {0}));
  const auto& added = catalogue.find(step_id(1, 4))->step;
  EXPECT_NE(catalogue.find(step_id(1, 4, kBudget - 100))->step, added);
  EXPECT_NE(catalogue.find(step_id(2, 4, kBudget + 100))->step, added);
  EXPECT_THAT(
      catalogue.reruns_that_fit(step_id(1, 4)),
      ElementsAre(std::vector<planner::Rerun>{{3, 4}}, std::vector<planner::Rerun>{{0, 1}}));
}

TEST(Catalogue, drops_a_plan_that_did_not_fit_wherever_it_serves) {
  const StepId small = step_id(1, 4, kBudget - 100), large = step_id(1, 4);
  Catalogue catalogue;
  catalogue.add(made_from_trace(large, {3}));
  catalogue.add(made_from_trace(small, {1}));
  catalogue.add(entry_of(step_id(2, 3)));
  const auto step = catalogue.find(large)->step;
  EXPECT_THAT(catalogue.drop_plan(step.get(), "it did not fit"), ElementsAre(large, small));
  EXPECT_EQ(catalogue.find(large)->step, nullptr);
  EXPECT_EQ(catalogue.find(small)->note, "it did not fit");
  EXPECT_THAT(candidates(catalogue), ElementsAre(3));
}

}  // namespace
}  // namespace neap::autoplan
