// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/catalogue.h: the plans that are known, by the steps that they are for.
#pragma once

#include "autoplan/plan_director.h"
#include "autoplan/planned_step.h"
#include "autoplan/step_id.h"

#include <neap/planner.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace neap::autoplan {

struct PlanJob;

struct CatalogueEntry {
  StepId id;
  std::shared_ptr<const PlannedStep> step;  // null: no plan fits
  std::string note;                         // for people
  // What the plan was made from. Null once the plan has proved right, and for a plan of another
  // process.
  std::shared_ptr<const PlanJob> job;
  std::vector<planner::Rerun> reruns;  // of the plan; empty too for a plan of another process
  std::int64_t base = 0;               // bytes that were live when the traced step began
  std::int64_t margin = 0;             // bytes of the budget that the plan leaves free
  std::int64_t planning_ns = 0;
  std::uint64_t last_use = 0;
  int hits = 0;     // times that the plan was followed to its end
  int replans = 0;  // times that it was made anew with a larger margin

  // There is a plan, and it counts with at least `live` bytes from outside of the step.
  [[nodiscard]] bool fits(std::int64_t live) const { return step && live <= base + margin; }
};

// At most kMost entries: a new one takes the place of the one that was used least lately. A program
// whose batches have more shapes than that would never follow a plan. At most kMostJobs of them
// keep their job, because a trace takes some hundred bytes an operator.
class Catalogue {
 public:
  static constexpr std::size_t kMost = 64;
  static constexpr std::size_t kMostJobs = 16;

  // Null: there is none. The pointer holds until the next change of the catalogue.
  CatalogueEntry* find(const StepId& id);
  // A plan that serves larger budgets of the same operators better than their own does so from here
  // on. An entry without a plan never replaces one with a plan.
  void add(CatalogueEntry entry);
  void mark_used(CatalogueEntry& entry) { entry.last_use = ++clock_; }
  void remove(const StepId& id);
  void remove_plans_of_file(const std::string& file);
  // A step that followed this plan did not fit: it goes, and `note` says why. Returns the steps
  // that it was for.
  std::vector<StepId> drop_plan(const PlannedStep* step, const std::string& note);

  // What a step of the scope may follow, in the order in which it is tried: see candidates() in
  // catalogue.cpp. `scope` has a budget and a file; `expected`: by the history; `live`: bytes when
  // the scope was opened.
  [[nodiscard]] PlanDirector::Steps candidates(const StepId& scope,
                                               const std::optional<StepId>& expected,
                                               std::int64_t live) const;
  // The recomputations of plans for the same operators under this budget or smaller ones.
  [[nodiscard]] std::vector<std::vector<planner::Rerun>> reruns_that_fit(const StepId& id) const;

 private:
  void offer_to_larger_budgets(const CatalogueEntry& entry);
  void drop_oldest_job();

  std::vector<CatalogueEntry> entries_;
  std::uint64_t clock_ = 0;
};

}  // namespace neap::autoplan
