// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
//
// autoplan/planned_steps.h: traces the steps of a program, has plans made of them, and lets later
// steps follow these.
//
// At its start a scope gets the plans that its step may follow, and a recorder where the step is to
// be traced. At its end the step is known: its entry in the catalogue learns how the plan did, or
// the trace goes to the worker.
#pragma once

#include "autoplan/catalogue.h"
#include "autoplan/plan_director.h"
#include "autoplan/plan_file.h"
#include "autoplan/plan_job.h"
#include "autoplan/recorder.h"
#include "autoplan/step_history.h"
#include "autoplan/tracing_rule.h"
#include "autoplan/watched_steps.h"
#include "autoplan/worker.h"

#include <neap/engine.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

namespace neap::autoplan {

// Where the plans of a scope come from.
struct PlanSource {
  std::string plan_file;  // this plan and no other; empty: the planner's
  std::string cache;      // a directory that keeps plans between processes; empty: none
};

// Threads: the scope's, but for finish(), which any thread may call while no scope is open.
class PlannedSteps {
 public:
  static PlannedSteps& instance();
  PlannedSteps(const PlannedSteps&) = delete;
  PlannedSteps& operator=(const PlannedSteps&) = delete;

  // The engine has opened the outermost scope, with a budget. Nullopt: the scope makes and follows
  // no plans. Throws: as graph::read_plan() for a plan file.
  void begin(const std::optional<PlanSource>& source);
  // The scope is about to close. `completed`: no exception ends it.
  void end(bool completed);
  // A plan was followed until now.
  [[nodiscard]] bool follows() const {
    return director_->follows() && director_->tried() != nullptr;
  }
  // The scope has closed, and followed a plan until then.
  void count_hit() { director_->count_hit(); }
  // The scope makes or follows plans. Then they decide what is evicted, and a region without rules
  // evicts nothing.
  [[nodiscard]] bool is_active() const { return active_; }
  // Ends that for this scope: from here on it is online.
  void stop();
  // Waits until no plan is being made.
  void finish();
  // A step that was watched without a budget, and began with `base` bytes live. A later scope plans
  // it before its first operator.
  void add_watched(Recording recording, std::int64_t base);

  // What is counted of plans since the process started.
  void add_counts(Stats& stats) const { director_->add_counts(stats); }
  // Of the last step: the time that the search for its plan took, and what people are to know of
  // its plan.
  [[nodiscard]] std::int64_t planning_ns() const { return planning_ns_; }
  [[nodiscard]] const std::string& note() const { return note_; }

 private:
  PlannedSteps() : director_(std::make_shared<PlanDirector>()) {}

  void forked();

  // The start of a scope.
  void open_scope(const PlanSource& source);
  void read_plan_file();
  void read_cache();
  void plan_watched_steps();

  // The end of a step.
  void end_with_plan_file();
  bool update(CatalogueEntry& entry);
  void drop_failed_plan();

  // Plans.
  [[nodiscard]] bool is_foreseen_by_file() const {
    return !scope_.plan_file.empty() && file_.names_operators();
  }
  [[nodiscard]] std::shared_ptr<const PlanJob> job_of(Recording recording, const StepId& step,
                                                      std::int64_t base) const;
  void collect();
  void add_made(CatalogueEntry made);
  void submit(std::shared_ptr<const PlanJob> job);
  void plan_again(CatalogueEntry& entry, std::int64_t shortage);
  void remove_cached_file(const StepId& step) const;
  void add_note(const std::string& text);

  Catalogue catalogue_;
  TracingRule tracing_;
  WatchedSteps watched_;
  PlanFile file_;
  PlanWorker worker_;
  std::shared_ptr<PlanDirector> director_;  // the engine has it too while a scope follows a plan

  bool active_ = false;
  StepId scope_;           // the budget and the file of the open scope; the rest is 0
  std::int64_t base_ = 0;  // bytes that were live when it was opened
  std::string cache_;      // its directory
  std::unique_ptr<Recorder> recorder_;
  StepHistory history_;
  // The directory, the budget, and whether there was a tier, the last time.
  std::tuple<std::string, std::int64_t, bool> cache_read_;
  std::int64_t planning_ns_ = 0;
  std::string note_;
};

}  // namespace neap::autoplan
