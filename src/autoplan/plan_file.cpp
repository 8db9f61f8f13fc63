// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/plan_file.h"

#include "autoplan/compile.h"
#include "intercept/operators.h"
#include "planner/late_frees.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace neap::autoplan {
namespace {

void require_room(const graph::Plan& plan, std::int64_t budget) {
  if (plan.predicted_peak <= budget) return;
  throw InvalidArgument("it takes " + Bytes(plan.predicted_peak).text() + ", the budget is " +
                        Bytes(budget).text());
}

}  // namespace

bool PlanFile::read(const std::string& path) {
  std::error_code none;
  const auto time = std::filesystem::last_write_time(path, none);
  if (path == path_ && time == time_) return false;
  plan_ = std::make_shared<const graph::Plan>(graph::read_plan(path));
  path_ = path;
  time_ = time;
  return true;
}

StepId PlanFile::step_of(StepId scope) const {
  scope.calls = plan_->operators.back().call;
  scope.count = plan_->operators.size();
  return scope;
}

CatalogueEntry PlanFile::entry_for(const StepId& step) const {
  CatalogueEntry entry;
  entry.id = step;
  entry.base = step.budget;  // there is no other plan, whatever is held beside the step
  try {
    require_room(*plan_, step.budget);
    const std::int64_t room = std::min(planner::allocator_room(Bytes(step.budget)).count(),
                                       step.budget - plan_->predicted_peak);
    entry.step = std::make_shared<const PlannedStep>(compile(*plan_, room));
  } catch (const InvalidArgument& error) {
    entry.note = name_and_label() + " does not fit this step, which is online: " + error.what();
  }
  return entry;
}

std::string PlanFile::name_and_label() const {
  return path_ + (plan_->label.empty() ? "" : ", made for " + plan_->label + ",");
}

std::string PlanFile::text_of(const Departure& departure) const {
  const std::string at = std::to_string(departure.operators);
  std::string text = name_and_label() + " was followed for " + at + " of " +
                     std::to_string(plan_->operators.size()) + " operators: ";
  if (departure.other != nullptr) {
    return text + "operator " + at + " of this step, " + departure.other->op.schema().name() +
           ", is not what it foresees there, by its name, its sizes or its storages";
  }
  if (departure.shortage > 0) {
    return text + "there " + Bytes(departure.shortage).text() +
           " more were needed than it counts with";
  }
  return text + "it was given up there";
}

graph::Plan fit_to_trace(graph::Plan plan, const graph::Trace& trace, std::int64_t budget,
                         std::int64_t margin) {
  const graph::Outcome outcome = graph::simulate(trace, plan);
  plan.predicted_peak = outcome.peak;
  plan.predicted_ns = outcome.ns;
  require_room(plan, budget);
  // A plan that recomputes nothing may keep everything to the end. Else what is free stays with the
  // allocator, whose slabs may need it.
  const std::int64_t limit = planner::reruns_of(plan).empty()
                                 ? std::max(plan.predicted_peak, budget - margin)
                                 : plan.predicted_peak;
  return planner::free_late(trace, std::move(plan), limit);
}

}  // namespace neap::autoplan
