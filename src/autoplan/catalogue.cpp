// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/catalogue.h"

#include "autoplan/plan_job.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace neap::autoplan {
namespace {

// The step of `longer` runs all operators of the step of `shorter`, and then more.
bool goes_on_after(const CatalogueEntry& longer, const CatalogueEntry& shorter) {
  const StepId& end = shorter.id;
  return longer.id.count > end.count && longer.step->calls[end.count - 1] == end.calls;
}

// Moves a plan that goes on where the first one ends to the front, until there is none. A short
// step can follow a longer plan to the short step's own end. But a long step that follows a shorter
// plan would lose it on the way.
void put_longer_first(std::vector<const CatalogueEntry*>& entries) {
  for (;;) {
    const auto longer = std::ranges::find_if(entries, [&](const CatalogueEntry* entry) {
      return goes_on_after(*entry, *entries.front());
    });
    if (longer == entries.end()) return;
    std::rotate(entries.begin(), longer, longer + 1);
  }
}

}  // namespace

CatalogueEntry* Catalogue::find(const StepId& id) {
  const auto found = std::ranges::find(entries_, id, &CatalogueEntry::id);
  return found == entries_.end() ? nullptr : &*found;
}

void Catalogue::add(CatalogueEntry entry) {
  if (entry.step && entry.job) offer_to_larger_budgets(entry);
  mark_used(entry);
  if (CatalogueEntry* const known = find(entry.id)) {
    if (!entry.step) return;
    entry.replans = known->replans;
    entry.hits = known->hits;
    *known = std::move(entry);
  } else {
    if (entries_.size() == kMost) {
      entries_.erase(std::ranges::min_element(entries_, {}, &CatalogueEntry::last_use));
    }
    entries_.push_back(std::move(entry));
  }
  drop_oldest_job();
}

void Catalogue::drop_oldest_job() {
  std::vector<CatalogueEntry*> with_job;
  for (CatalogueEntry& entry : entries_) {
    if (entry.job) with_job.push_back(&entry);
  }
  if (with_job.size() <= kMostJobs) return;
  (*std::ranges::min_element(with_job, {}, &CatalogueEntry::last_use))->job.reset();
}

// A plan is never slower than that of a smaller budget.
void Catalogue::offer_to_larger_budgets(const CatalogueEntry& entry) {
  std::vector<std::int64_t> ns;
  for (const graph::Event& event : entry.job->trace.events) {
    if (const auto* const op = std::get_if<graph::Operator>(&event)) ns.push_back(op->ns);
  }
  // Both plans by the times of one trace: those of the other may be older, or of another process.
  const auto ns_of = [&](const std::vector<planner::Rerun>& reruns) {
    std::int64_t total = 0;
    for (const planner::Rerun& one : reruns) total += ns[static_cast<std::size_t>(one.op)];
    return total;
  };
  for (CatalogueEntry& other : entries_) {
    if (!other.id.same_operators(entry.id) || other.id.budget <= entry.id.budget) continue;
    const bool unknown_or_faster =
        other.reruns.empty() || ns_of(other.reruns) <= ns_of(entry.reruns);
    if (other.step && unknown_or_faster) continue;
    other.step = entry.step;
    other.reruns = entry.reruns;
    other.base = entry.base;
    other.margin = entry.margin + other.id.budget - entry.id.budget;
    other.note.clear();
  }
}

void Catalogue::remove(const StepId& id) {
  std::erase_if(entries_, [&](const CatalogueEntry& entry) { return entry.id == id; });
}

void Catalogue::remove_plans_of_file(const std::string& file) {
  std::erase_if(entries_, [&](const CatalogueEntry& entry) { return entry.id.plan_file == file; });
}

std::vector<StepId> Catalogue::drop_plan(const PlannedStep* step, const std::string& note) {
  std::vector<StepId> dropped;
  for (CatalogueEntry& entry : entries_) {
    if (!entry.step || entry.step.get() != step) continue;
    entry.step.reset();
    entry.note = note;
    dropped.push_back(entry.id);
  }
  return dropped;
}

// The best guess first: the plan of the expected step. Then the other plans, the last used first.
// In the end, longer plans go to the front: see put_longer_first().
PlanDirector::Steps Catalogue::candidates(const StepId& scope,
                                          const std::optional<StepId>& expected,
                                          std::int64_t live) const {
  std::vector<const CatalogueEntry*> usable;
  for (const CatalogueEntry& entry : entries_) {
    if (entry.fits(live) && entry.id.budget == scope.budget &&
        entry.id.plan_file == scope.plan_file && entry.id.offloads == scope.offloads) {
      usable.push_back(&entry);
    }
  }
  std::ranges::sort(usable, std::ranges::greater{}, [&](const CatalogueEntry* entry) {
    return std::pair(expected == entry->id, entry->last_use);
  });
  put_longer_first(usable);
  PlanDirector::Steps steps;
  for (const CatalogueEntry* const entry : usable) steps.push_back(entry->step);
  return steps;
}

std::vector<std::vector<planner::Rerun>> Catalogue::reruns_that_fit(const StepId& id) const {
  std::vector<std::vector<planner::Rerun>> known;
  for (const CatalogueEntry& other : entries_) {
    if (other.id.same_operators(id) && other.id.budget <= id.budget && !other.reruns.empty()) {
      known.push_back(other.reruns);
    }
  }
  return known;
}

}  // namespace neap::autoplan
