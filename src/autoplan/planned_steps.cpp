// Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#include "autoplan/planned_steps.h"

#include "autoplan/plan_cache.h"
#include "memory/allocator.h"
#include "policy/ready_engine.h"

#include <pthread.h>

#include <algorithm>
#include <ranges>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace neap::autoplan {
namespace {

using policy::ready_engine;

constexpr int kMostReplans = 3;
constexpr int kProved = 3;  // a plan that was followed so many times is not made again
// Longer steps stay online. A recording takes some 400 bytes an operator.
constexpr std::size_t kMostCalls = std::size_t{1} << 18;

// Replaces the times of this one step by the engine's: the smallest of a few runs. The first step
// of a training runs on fresh pages, and under a budget it waits for others, so its own times say
// little.
void take_usual_times(std::vector<graph::Operator>& operators,
                      const std::vector<std::uint64_t>& signatures) {
  const engine::Engine& engine = ready_engine();
  for (std::size_t i = 0; i < operators.size(); ++i) {
    operators[i].ns = static_cast<std::int64_t>(engine.cost_ns(signatures[i]));
  }
}

// When the step took more than was foretold, that is known now.
void learn_peak(CatalogueEntry& entry) {
  if (memory::watermark() <= entry.step->predicted_peak) return;
  auto step = std::make_shared<PlannedStep>(*entry.step);
  step->predicted_peak = memory::watermark();
  entry.step = std::move(step);
}

}  // namespace

PlannedSteps& PlannedSteps::instance() {
  static auto* const steps =
      new PlannedSteps;  // leaked: scopes may close after the statics are gone
  static const int prepared = ::pthread_atfork(nullptr, nullptr, [] { steps->forked(); });
  static_cast<void>(prepared);
  // No thread of ours outlives the statics that it uses.
  static const struct AtExit {
    ~AtExit() { steps->worker_.shut_down(); }
  } at_exit;
  return *steps;
}

// The child of fork() has no scope.
void PlannedSteps::forked() {
  worker_.forked();
  active_ = false;
  recorder_.reset();
}

// ---------------------------------------------------------------- the start of a scope

void PlannedSteps::begin(const std::optional<PlanSource>& source) {
  planning_ns_ = 0;
  note_.clear();
  director_->start({});  // else this scope would seem to have tried a plan of the last one
  if (!source) return;
  try {
    open_scope(*source);
  } catch (...) {
    stop();
    throw;
  }
}

void PlannedSteps::open_scope(const PlanSource& source) {
  engine::Engine& engine = ready_engine();
  scope_ = {.budget = engine.budget_bytes(),
            .plan_file = source.plan_file,
            .offloads = engine.copies().is_open()};
  cache_ = source.cache;
  if (!scope_.plan_file.empty()) read_plan_file();
  active_ = true;
  base_ = memory::usage().live;
  collect();
  read_cache();
  plan_watched_steps();
  director_->start(catalogue_.candidates(scope_, history_.expected(), base_));
  if ((tracing_.traces() || !director_->follows()) && !is_foreseen_by_file()) {
    recorder_ = std::make_unique<Recorder>(std::unordered_map<const void*, graph::StorageKind>{},
                                           kMostCalls);
    engine.set_observer(recorder_.get());
  }
  if (!director_->follows()) return;
  // Else the peak would be that of whatever is cached.
  memory::set_target(director_->step()->predicted_peak);
  engine.set_director(director_);
}

void PlannedSteps::stop() {
  if (!std::exchange(active_, false)) return;
  engine::Engine& engine = ready_engine();
  if (recorder_) engine.set_observer(nullptr);
  recorder_.reset();
  director_->start({});
  engine.set_director(nullptr);
  memory::set_target(std::nullopt);
}

// Plans that were made from the file as it was before go with it.
void PlannedSteps::read_plan_file() {
  if (file_.read(scope_.plan_file)) {
    finish();
    catalogue_.remove_plans_of_file(scope_.plan_file);
  }
  if (file_.offloads() && !scope_.offloads) {
    throw InvalidArgument(scope_.plan_file +
                          " copies storages to a tier; name its directory, by Options::offload or "
                          "--offload DIR");
  }
  if (!file_.names_operators()) return;
  const StepId step = file_.step_of(scope_);
  if (catalogue_.find(step) == nullptr) catalogue_.add(file_.entry_for(step));
}

// Once for each directory and budget.
void PlannedSteps::read_cache() {
  const std::tuple wanted(cache_, scope_.budget, scope_.offloads);
  if (cache_.empty() || cache_read_ == wanted) return;
  cache_read_ = wanted;
  CachedSteps read = read_cached(cache_, scope_.budget, scope_.offloads, Catalogue::kMost);
  for (const std::string& ignored : read.ignored) add_note(ignored);
  for (CachedStep& cached : std::views::reverse(read.steps)) {  // the last written is the last used
    CatalogueEntry entry;
    entry.id = {.calls = cached.step.calls.back(),
                .count = cached.step.calls.size(),
                .budget = cached.budget,
                .offloads = cached.offloads};
    if (catalogue_.find(entry.id) != nullptr) continue;
    entry.base = cached.base;
    entry.margin = cached.margin;
    entry.step = std::make_shared<const PlannedStep>(std::move(cached.step));
    catalogue_.add(std::move(entry));
  }
}

void PlannedSteps::add_watched(Recording recording, std::int64_t base) {
  if (recording.calls.empty() || recording.calls.size() > kMostCalls) return;
  watched_.add(std::move(recording), base);
}

// Before the first step there is nothing else to do, so the program waits for these plans.
void PlannedSteps::plan_watched_steps() {
  const std::vector<WatchedSteps::Step>& watched = watched_.use();
  if (watched.empty() || !scope_.plan_file.empty()) return;
  // What the program has made since it watched the first step lies beside all of them.
  const std::int64_t more = std::max<std::int64_t>(0, base_ - watched.front().base);
  std::vector<StepId> steps;
  std::vector<std::shared_ptr<const PlanJob>> jobs;
  for (const WatchedSteps::Step& one : watched) {
    StepId& step = steps.emplace_back(scope_);
    step.calls = one.recording.calls.back();
    step.count = one.recording.calls.size();
    if (catalogue_.find(step) != nullptr) continue;
    Recording recording = one.recording;
    for (std::int64_t& bytes : recording.untouched) bytes += more;
    jobs.push_back(job_of(std::move(recording), step, one.base + more));
  }
  if (jobs.empty()) return;
  std::vector<CatalogueEntry> made = make_plans(jobs, engine::Engine::interrupt_pending);
  // The last that is added counts as the last used, and the step that was watched first comes
  // first.
  for (CatalogueEntry& entry : std::views::reverse(made)) catalogue_.add(std::move(entry));
  for (const StepId& step : steps) history_.add(step);
  history_.add(steps.back());  // the kind that is watched last goes on
}

// ---------------------------------------------------------------- the end of a step

void PlannedSteps::end(bool completed) {
  if (!std::exchange(active_, false)) return;
  engine::Engine& engine = ready_engine();
  const std::unique_ptr<Recorder> recorder = std::move(recorder_);
  if (recorder) engine.set_observer(nullptr);
  if (!completed) return drop_failed_plan();
  const std::span<const std::uint64_t> calls = engine.calls();
  if (calls.empty()) return;
  if (is_foreseen_by_file()) return end_with_plan_file();
  StepId step = scope_;
  step.calls = calls.back();
  step.count = calls.size();
  watched_.forget_unless_one_is(step.calls);
  history_.add(step);
  if (CatalogueEntry* const entry = catalogue_.find(step)) {
    tracing_.met_planned_step();
    if (!update(*entry)) return;
  } else {
    tracing_.met_unplanned_step();
  }
  if (!recorder) return;
  if (recorder->ended() == Recorder::Ended::TooLong) {
    return add_note("the scope ran more than " + std::to_string(kMostCalls) +
                    " operators, so no plan was made: open one scope a step");
  }
  if (recorder->ended() == Recorder::Ended::NoMemory) {
    return add_note(
        "the system had no memory to write the step down, so no plan was made: end other programs");
  }
  if (!tracing_.is_worth_a_plan(step)) return;
  Recording recording = recorder->finish();
  recording.calls.assign(calls.begin(), calls.end());
  submit(job_of(std::move(recording), step, base_));
}

// The step of the entry has ended. True: its plan does not count with all that lies beside the step
// now, so another is to be made.
bool PlannedSteps::update(CatalogueEntry& entry) {
  catalogue_.mark_used(entry);
  planning_ns_ = entry.planning_ns;
  add_note(entry.note);
  // Before the peak is learned, which makes a plan of its own for the entry.
  const bool tried = entry.step && director_->tried() == entry.step.get();
  if (entry.step && director_->completed() == entry.step) {
    tracing_.plan_was_followed();
    ++entry.hits;
    learn_peak(entry);
  }
  if (tried && director_->shortage() > 0) {
    plan_again(entry, director_->shortage());
    return false;
  }
  if (entry.hits >= kProved) entry.job.reset();  // some hundred bytes an operator
  return entry.step && !entry.fits(base_);
}

// The plan of the file is the only one that there is for the step.
void PlannedSteps::end_with_plan_file() {
  CatalogueEntry* const entry = catalogue_.find(file_.step_of(scope_));
  if (entry == nullptr) return;
  if (!entry->step) return add_note(entry->note);
  catalogue_.mark_used(*entry);
  if (director_->follows()) return learn_peak(*entry);
  add_note(
      file_.text_of({director_->foreseen(), director_->not_foreseen(), director_->shortage()}));
}

// The step ended by an exception. When the plan's bytes were short by then, it may be the plan's
// fault.
void PlannedSteps::drop_failed_plan() {
  if (director_->shortage() == 0 || director_->tried() == nullptr) return;
  const std::vector<StepId> dropped = catalogue_.drop_plan(
      director_->tried(),
      "the plan of this step was given up: a step that followed it did not fit");
  for (const StepId& step : dropped) remove_cached_file(step);
}

// ---------------------------------------------------------------- plans

// REQUIRES: the recording has its calls.
std::shared_ptr<const PlanJob> PlannedSteps::job_of(Recording recording, const StepId& step,
                                                    std::int64_t base) const {
  take_usual_times(recording.operators, recording.signatures);
  // No plan may run these again, so their results stay.
  for (const std::int64_t op : recording.must_save) {
    recording.operators[static_cast<std::size_t>(op)].replayable = false;
  }
  auto job = std::make_shared<PlanJob>();
  job->step = step;
  job->base = base;
  job->margin = planner::allocator_room(Bytes(step.budget)).count();
  job->cache = cache_;
  if (!step.plan_file.empty()) job->fixed = file_.plan();
  job->numbers = std::move(recording.numbers);
  job->preferred = std::move(recording.prefer_save);
  std::ranges::sort(job->preferred);
  // The calls leave the recording before the trace is made, so the trace has none. Only a plan that
  // is written to a file needs them there.
  job->calls = std::exchange(recording.calls, {});
  job->trace = make_trace(recording, "");
  if (step.offloads) {
    const engine::BlockCopies::Speed speed = ready_engine().copies().speed();
    job->trace.out_bytes_per_s = speed.out_bytes_per_s;
    job->trace.in_bytes_per_s = speed.in_bytes_per_s;
    job->offload_limit = ready_engine().copies().limit();
  }
  // What the step itself has rerun comes first, then the plans of smaller budgets.
  job->known = catalogue_.reruns_that_fit(step);
  if (!recording.reruns.empty()) job->known.insert(job->known.begin(), std::move(recording.reruns));
  return job;
}

void PlannedSteps::collect() {
  if (std::optional<CatalogueEntry> made = worker_.take()) add_made(std::move(*made));
}

void PlannedSteps::submit(std::shared_ptr<const PlanJob> job) {
  collect();
  worker_.submit(std::move(job));
}

void PlannedSteps::finish() {
  while (std::optional<CatalogueEntry> made = worker_.wait()) add_made(std::move(*made));
}

void PlannedSteps::add_made(CatalogueEntry made) {
  if (catalogue_.find(made.id) == nullptr) tracing_.plan_was_made();
  catalogue_.add(std::move(made));
  worker_.start_waiting();
}

void PlannedSteps::plan_again(CatalogueEntry& entry, std::int64_t shortage) {
  if (!entry.job) {
    if (entry.hits >= kProved) return;
    tracing_.met_unplanned_step();  // another process made the plan, and it does not hold here
    const StepId step = entry.id;
    catalogue_.remove(step);
    return remove_cached_file(step);
  }
  if (entry.replans >= kMostReplans || !entry.id.plan_file.empty()) return;
  ++entry.replans;
  auto job = std::make_shared<PlanJob>(*entry.job);
  job->margin += shortage;
  submit(std::move(job));
}

// Else the next process would follow it too.
void PlannedSteps::remove_cached_file(const StepId& step) const {
  if (!cache_.empty()) remove_cached(cache_, step);
}

void PlannedSteps::add_note(const std::string& text) {
  if (text.empty()) return;
  if (!note_.empty()) note_ += '\n';
  note_ += text;
}

}  // namespace neap::autoplan
